import io
import zipfile

import pytest

from services.transport.http.filetypes import CHUNK_BYTES, MAX_NAME_LENGTH, detect_type, safe_name

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


def zipped(*names: str) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return whole.getvalue()


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (PNG, "a.txt", "image/png"),
        (b"\xff\xd8\xff\xe0", "a", "image/jpeg"),
        (b"RIFF\x01\x02\x03\x04WEBPVP8 ", "a.png", "image/webp"),
        (b"RIFF\x0a\x02\x03\x04WAVEfmt ", "a.png", "audio/wav"),
        (b"%PDF-1.7\n\xff\xfe", "a.exe", "application/pdf"),
        (b"\0\0\0\x20ftypisom", "a.mp4", "video/mp4"),
        (zipped("a.txt"), "a.zip", "application/zip"),
        (zipped("a.txt"), "a.docx", "application/zip"),
        (
            zipped("[Content_Types].xml", "xl/workbook.xml"),
            "a.XLSX",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ),
        (b"a,b\n", "a.csv", "text/csv"),
        (b"# A\n", "A.MD", "text/markdown"),
        (b"{}", "a.json", "application/json"),
        (b"<script>", "a.html", "text/plain"),
        ("ü".encode() * CHUNK_BYTES, "a.png", "text/plain"),
        (b"\x7fELF\x02\x01\x01\0", "a.txt", None),
        (b"MZ\x90\0", "a.png", None),
        (b"text\0text", "a.txt", None),
        (b"text\xff", "a.txt", None),
        (b"x" * (CHUNK_BYTES - 1) + b"\xc3", "a.txt", None),
    ],
)
def test_the_type_of_a_file_is_detected_from_its_bytes(
    data: bytes, name: str, kind: str | None
) -> None:
    file = io.BytesIO(data)
    assert detect_type(file, name) == kind
    assert file.tell() == 0


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.csv", "a.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.txt", "a.txt"),
        ("a\r\nb\0.txt", "ab.txt"),
        ("gpj.\u202eexe", "gpj.exe"),
        (".. ", "file"),
        ("", "file"),
        ("prix été.pdf", "prix été.pdf"),
        ("x" * 300 + ".pdf", "x" * (MAX_NAME_LENGTH - 4) + ".pdf"),
    ],
)
def test_a_file_name_has_no_folder_and_no_unprintable_character(name: str, safe: str) -> None:
    assert safe_name(name) == safe
