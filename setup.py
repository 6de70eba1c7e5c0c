"""What pyproject.toml cannot say: the example jobs go into the wheel, as orchestrator/examples."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

EXAMPLES = [path.as_posix() for path in sorted(Path("jobs").glob("*.yaml"))]


class BuildWithExamples(build_py):
    """Builds the packages, and copies the examples in; an editable install reads jobs/ itself."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in zip(EXAMPLES, self._copies(), strict=True):
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *EXAMPLES]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *self._copies()]

    def _copies(self) -> list[str]:
        folder = Path(self.build_lib) / "orchestrator" / "examples"
        return [str(folder / Path(source).name) for source in EXAMPLES]


setup(cmdclass={"build_py": BuildWithExamples})
