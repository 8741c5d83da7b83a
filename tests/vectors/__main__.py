"""Write the vectors: `uv run --no-sync python -m tests.vectors`. The same code, the same bytes."""

from __future__ import annotations

import shutil

from tests.vectors.files import FOLDER, make_files


def main() -> None:
    """Replace the generated files."""
    files = make_files()
    for name in {name.partition("/")[0] for name in files if "/" in name}:
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    for name, content in files.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    size = sum(map(len, files.values()))
    print(f"{len(files)} files, {size / 1e6:.2f} MB in {FOLDER}")


if __name__ == "__main__":
    main()
