"""What a file is, by its bytes: what a client says of it is only a word."""

import codecs
import re
from pathlib import PurePath
from typing import IO

HEAD = 4096
PIECE = 64 * 1024
LONGEST_NAME = 120

_MAGIC: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb"\x89PNG\r\n\x1a\n", "image/png"),
        (rb"\xff\xd8\xff", "image/jpeg"),
        (rb"GIF8[79]a", "image/gif"),
        (rb"RIFF....WEBP", "image/webp"),
        (rb"RIFF....WAVE", "audio/wav"),
        (rb"%PDF-", "application/pdf"),
        (rb"PK(\x03\x04|\x05\x06)", "application/zip"),
        (rb"\x1f\x8b\x08", "application/gzip"),
        (rb"OggS", "audio/ogg"),
        (rb"fLaC", "audio/flac"),
        (rb"ID3|\xff[\xfb\xf3\xf2]", "audio/mpeg"),
        (rb"....ftyp", "video/mp4"),
        (rb"\x1a\x45\xdf\xa3", "video/webm"),
    )
)
_OFFICE = "application/vnd.openxmlformats-officedocument"
_PACKED = {
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    ".pptx": f"{_OFFICE}.presentationml.presentation",
}
"""Documents that are zip archives with a list of their contents' types in front."""
_WRITTEN = {".csv": "text/csv", ".md": "text/markdown", ".json": "application/json"}
"""What a text is by its name; every other is plain."""


def type_of(file: IO[bytes], name: str) -> str | None:
    """The media type of a file that is left at its beginning; none where it is none we take."""
    suffix = PurePath(name).suffix.lower()
    head = file.read(HEAD)
    file.seek(0)
    kind = next((kind for pattern, kind in _MAGIC if pattern.match(head)), None)
    if kind == "application/zip" and b"[Content_Types].xml" in head:
        return _PACKED.get(suffix, kind)
    if kind is not None:
        return kind
    return _WRITTEN.get(suffix, "text/plain") if _is_text(file) else None


def _is_text(file: IO[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while piece := file.read(PIECE):
            if "\0" in decoder.decode(piece):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    finally:
        file.seek(0)
    return True


def safe_name(name: str) -> str:
    """A file's name without folders and without what no one can see, cut in its middle."""
    last = re.split(r"[\\/]", name)[-1]
    visible = "".join(letter for letter in last if letter.isprintable()).strip(" .")
    suffix = PurePath(visible).suffix[:16]
    return visible.removesuffix(suffix)[: LONGEST_NAME - len(suffix)] + suffix or "file"
