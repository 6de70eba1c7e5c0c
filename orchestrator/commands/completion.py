"""What a shell offers when Tab is pressed: grid files, and folders that may hold some."""

from pathlib import Path


def grid_files(incomplete: str) -> list[str]:
    """Return the grid files and folders whose path begins so; a folder ends in a slash.

    Hidden ones are offered where the path names them. None where nothing can be read.
    """
    folder, slash, start = incomplete.rpartition("/")
    place = Path(folder + slash if slash else ".").expanduser()
    try:
        entries = sorted(place.iterdir())
    except OSError:
        return []
    return [
        f"{folder}{slash}{each.name}{'/' if each.is_dir() else ''}"
        for each in entries
        if each.name.startswith(start)
        and (start.startswith(".") or not each.name.startswith("."))
        and (each.is_dir() or each.suffix in (".yaml", ".yml"))
    ]
