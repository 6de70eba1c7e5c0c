"""Files of a store that lie in memory, each call at once and whole."""

import json
from pathlib import Path
from typing import Any


class MemoryFiles:
    """As ``StoreFiles`` of an object store. ``turn`` is called before each thing that is done."""

    is_local = False
    uri = "memory://store"

    def __init__(self, content: dict[str, bytes] | None = None) -> None:
        self.content: dict[str, bytes] = {} if content is None else content

    def turn(self) -> None:
        """Let others do something first: here, nobody."""

    def read(self, path: str) -> bytes | None:
        self.turn()
        return self.content.get(path)

    def write(self, path: str, data: bytes) -> None:
        self.turn()
        self.content[path] = data

    def create(self, path: str, data: bytes) -> bool:
        self.turn()
        return self.content.setdefault(path, data) is data

    def names(self, path: str) -> list[str]:
        self.turn()
        below = [name[len(path) + 1 :] for name in self.content if name.startswith(f"{path}/")]
        return sorted({name.partition("/")[0] for name in below})

    def remove_file(self, path: str) -> None:
        self.turn()
        if self.content.pop(path, None) is None:
            raise FileNotFoundError(path)

    def remove_folder(self, path: str) -> None:
        self.turn()
        for name in [name for name in self.content if name.startswith(f"{path}/")]:
            self.content.pop(name, None)

    def read_json(self, path: str) -> Any:
        data = self.read(path)
        return json.loads(data) if data else None

    def write_json(self, path: str, value: Any) -> None:
        self.write(path, json.dumps(value).encode())

    def upload(self, local: Path, path: str) -> None:
        for file in sorted(local.iterdir()):
            self.write(f"{path}/{file.name}", file.read_bytes())

    def look_afresh(self, path: str) -> None:
        """Nothing to do: what is there is seen."""
