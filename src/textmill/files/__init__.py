"""Files: written whole or not at all, hashed, locked, and read as JSON."""

from textmill.files.atomic import (
    TEMPORARY_PREFIX,
    cannot_read,
    cannot_write,
    disk_is_lost,
    expand_home,
    fsync_directory,
    fsync_file,
    fsync_tree,
    link_or_copy,
    make_directory,
    move_into_place,
    moved_aside,
    new_directory,
    not_accessible,
    own_file,
    remove_directory,
    remove_temporaries,
    write_bytes,
    write_text,
)
from textmill.files.hashes import file_entry, file_problem, json_sha256, sha256, with_own_hash
from textmill.files.json_files import (
    parse_json,
    plain_values,
    read_json,
    read_object,
    read_rows,
    report_damage,
    write_json,
)
from textmill.files.lock import is_current, is_locked, lock_file
from textmill.files.manifest import MANIFEST, listed_problems, read_manifest, render_manifest, without_manifest
from textmill.files.operating_system import NoLocksError
from textmill.files.regular_files import open_regular, read_bytes, read_text
from textmill.files.stale_names import (
    is_still_open,
    look_anew,
    remove_tree,
    rename,
    retry_stale,
    wait_until_seen,
    walk,
)
