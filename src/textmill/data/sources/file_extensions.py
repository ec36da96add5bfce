"""Which format a file has, by its extension, and which extensions a folder is read for."""

from importlib.util import find_spec
from pathlib import Path

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".mhtml": "mhtml",
    ".mht": "mhtml",
    ".pdf": "pdf",
    ".epub": "epub",
    ".srt": "srt",
    ".vtt": "vtt",
    ".tmx": "tmx",
    ".ipynb": "ipynb",
}
"""Extension -> format. Every other extension is plain text. `reading.read` has one reader per format."""

IDS = frozenset({".npy", ".bin"})
"""Extensions of files that contain token ids."""

NAMED_FORMATS = {
    "text": "",
    **{name: extension for extension, name in reversed(FORMATS.items())},
    "npy": ".npy",
    "bin": ".bin",
}
"""What `format` may be -> the extension that means the same."""

COMPRESSED = frozenset({".gz", ".bz2", ".xz", ".zst"})

ARCHIVES = frozenset({".tar", ".tgz", ".tbz2", ".txz", ".tzst", ".zip", ".7z", ".rar"})
"""Extensions of archives of files, which are not read: what is in them may be anything."""

ONLY_ALONE = {
    **dict.fromkeys((".csv", ".tsv", ".json"), "is assumed to be settings"),
    ".tmx": "is text in several languages",
}
"""Extensions that a folder is read for only when it has nothing else, and why not beside text."""

_PROSE = ".txt .text .md .markdown .rst .org .adoc .tex .log"
_CODE = (
    ".py .pyi .c .h .cc .cpp .hpp .cs .java .kt .scala .swift .go .rs .zig .js .jsx .ts .tsx .rb .php .pl .lua .r .jl "
    ".hs .ml .ex .erl .clj .lisp .el .sh .sql .f90 .pas .toml .yaml .yml .ini .cfg"
)

PROSE = frozenset(_PROSE.split())

_MORE_CODE = (
    ".vue .svelte .astro .mjs .cjs .mts .cts .cxx .hh .hxx .inl .cu .cuh .m .mm .dart .groovy .gradle .fs .vb .nim "
    ".elm .exs .cljs .scm .rkt .mli .hrl .bash .zsh .fish .ps1 .pyx .pxd .proto .tf .nix .sol .asm .s .scss .ipynb"
)
_SETTINGS = ".toml .yaml .yml .ini .cfg"

SOURCE = frozenset({*_CODE.split(), *_MORE_CODE.split()} - {*_SETTINGS.split()})
"""Extensions by which a folder is recognized as source code."""

_BINARY = (
    ".png .jpg .jpeg .gif .bmp .ico .icns .webp .tif .tiff .svg .psd .ai .eps .mp3 .wav .ogg .flac .m4a .mp4 .mov .avi "
    ".mkv .webm .ttf .otf .woff .woff2 .eot .doc .docx .xls .xlsx .ppt .pptx .odt .ods .odp .o .a .so .dylib .dll .exe "
    ".lib .obj .class .jar .war .pyc .pyo .pyd .wasm .bc .pdb .node .whl .egg .deb .rpm .dmg .iso .img .bin .dat .db "
    ".sqlite .sqlite3 .pickle .pkl .pt .pth .onnx .h5 .hdf5 .npz .safetensors .gguf .ckpt .keystore .jks .p12 .der .mo"
)

NOT_TEXT = frozenset(_BINARY.split())
"""Extensions that are not read as text in a folder of source code, where every other file is if its content is text."""

TEXT_SUFFIXES = frozenset({*_PROSE.split(), *_CODE.split(), *FORMATS, ".npy"})
"""Extensions that are read when a folder is given. A file given by its own name is read whatever its extension."""

_PACKAGES = {
    "parquet": "pyarrow",
    "arrow": "pyarrow",
    "html": "trafilatura",
    "mhtml": "trafilatura",
    "pdf": "pypdfium2",
    ".zst": "zstandard",
}


def extension_of(path: Path) -> tuple[str, str]:
    """Return the extension of `path` and that of its compression, both in lower case: ".jsonl", ".gz"; "" for none."""
    extensions = [suffix.lower() for suffix in path.suffixes[-2:]]
    compression = extensions.pop() if extensions and extensions[-1] in COMPRESSED else ""
    return (extensions[-1] if extensions else ""), compression


def format_of(path: Path, given: str | None = None) -> tuple[str, str]:
    """Return `extension_of(path)`, the extension being "" where the file is read as plain text.

    given: one of NAMED_FORMATS, which then counts in place of the extension.
    """
    extension, compression = extension_of(path)
    if given is not None:
        return NAMED_FORMATS[given], compression
    return (extension if extension in FORMATS or extension in IDS else ""), compression


def missing_package(path: Path) -> str | None:
    """Return the package that reading `path` needs and that is not installed, None when nothing is missing."""
    extension, compression = extension_of(path)
    needed = [_PACKAGES.get(FORMATS.get(extension, "")), _PACKAGES.get(compression)]
    return next((package for package in needed if package is not None and find_spec(package) is None), None)
