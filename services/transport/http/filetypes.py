"""File types, detected from the bytes: the content type that a client names is not trusted."""

import codecs
import re
from pathlib import PurePath
from typing import IO

HEAD_BYTES = 4096
CHUNK_BYTES = 64 * 1024
MAX_NAME_LENGTH = 120

_SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), media_type)
    for pattern, media_type in (
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
_OFFICE_TYPES = {
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    ".pptx": f"{_OFFICE}.presentationml.presentation",
}
"""Office documents: zip archives that start with `[Content_Types].xml`."""
_TEXT_TYPES = {".csv": "text/csv", ".md": "text/markdown", ".json": "application/json"}
"""Media types of text files by suffix; all others are `text/plain`."""


def detect_type(file: IO[bytes], name: str) -> str | None:
    """The media type of a file; None for a type that is not accepted. The file is rewound to its start."""
    suffix = PurePath(name).suffix.lower()
    head = file.read(HEAD_BYTES)
    file.seek(0)
    media_type = next(
        (media_type for pattern, media_type in _SIGNATURES if pattern.match(head)), None
    )
    if media_type == "application/zip" and b"[Content_Types].xml" in head:
        return _OFFICE_TYPES.get(suffix, media_type)
    if media_type is not None:
        return media_type
    return _TEXT_TYPES.get(suffix, "text/plain") if _is_text(file) else None


def _is_text(file: IO[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while chunk := file.read(CHUNK_BYTES):
            if "\0" in decoder.decode(chunk):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    finally:
        file.seek(0)
    return True


def safe_name(name: str) -> str:
    """The name of a file without folders and unprintable characters, shortened before its suffix."""
    base_name = re.split(r"[\\/]", name)[-1]
    visible = "".join(letter for letter in base_name if letter.isprintable()).strip(" .")
    suffix = PurePath(visible).suffix[:16]
    return visible.removesuffix(suffix)[: MAX_NAME_LENGTH - len(suffix)] + suffix or "file"
