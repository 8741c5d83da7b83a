"""The font of the PDF: Noto Sans CJK (OFL 1.1), for Latin and Chinese alike, never another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from orchestrator.model.errors import InfrastructureError
from orchestrator.report.glyphs import Coverage, count_fonts, read_coverage

FAMILY = "Noto Sans CJK SC"
FILES = ("NotoSansCJK-Regular.ttc", "NotoSansCJK-Bold.ttc")
FOLDERS = (
    Path("/usr/share/fonts/opentype/noto"),  # Debian, Ubuntu: fonts-noto-cjk
    Path("/usr/share/fonts/noto-cjk"),  # Arch: noto-fonts-cjk
    Path("/usr/share/fonts/google-noto-sans-cjk-fonts"),  # Fedora: google-noto-sans-cjk-fonts
)
"""Where the systems put it."""
_AGAIN = "install its package again (on Debian: `apt-get install --reinstall fonts-noto-cjk`)"


@dataclass(frozen=True)
class Font:
    """A folder that has the font, and the characters that both its weights cover."""

    folder: Path
    coverages: tuple[Coverage, ...]

    def has(self, sign: str) -> bool:
        """Whether a character can be shown."""
        return all(one.has(ord(sign)) for one in self.coverages)


def find_font(folders: Sequence[Path] = FOLDERS) -> Font:
    """Return the first folder with the font. Raises InfrastructureError saying what to install."""
    for folder in folders:
        if all((folder / name).is_file() for name in FILES):
            return _load(folder)
    raise InfrastructureError(
        f"the PDF needs the font {FAMILY}, and {' and '.join(FILES)} are in none of "
        + ", ".join(map(str, folders)),
        "install it (on Debian: `apt-get install fonts-noto-cjk`), or name its folder with --fonts",
    )


@lru_cache(maxsize=4)
def _load(folder: Path) -> Font:
    import typst  # noqa: PLC0415  (for PDF alone)

    try:
        for name in FILES:
            count_fonts(folder / name)
        fonts = typst.Fonts(
            include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(folder)]
        )
        faces = {
            Path(one.path).name: (Path(one.path), one.index)
            for one in fonts.fonts()
            if one.family == FAMILY and one.path
        }
        if not set(FILES) <= set(faces):
            raise InfrastructureError(
                f"the files in {folder} do not have the font {FAMILY}", _AGAIN
            )
        coverages = tuple(read_coverage(*faces[name]) for name in FILES)
    except (OSError, ValueError) as error:
        raise InfrastructureError(
            f"the font in {folder} cannot be read: {error}", _AGAIN
        ) from error
    return Font(folder, coverages)
