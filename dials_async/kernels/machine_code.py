"""Where machine code of kernels is kept: Numba's cache, in a folder that nobody else can write to; it heals.

Numba keeps machine code as pickles, and what is unpickled can do anything: a folder that another user owns or
can write to is not read. Every file begins with the hash of the rest: one that was cut off or damaged is
removed, with a line that says so, and its kernel compiled again. Where nothing can be written, kernels are
compiled in every process, with one line that says so.
"""

import atexit
import functools
import glob
import hashlib
import logging
import os
import pickle
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba.core import caching

from dials_async.cache import CACHE_VARIABLE, cache_folder

logger = logging.getLogger(__name__)

_DIGEST_BYTES = hashlib.sha256().digest_size

#: How many cache folders of other versions of the source are kept: those that were used last.
_KEPT_FOLDERS = 4


class DamagedFileError(Exception):
    """A file of the cache is not what was written."""


def usable_folder(name: str) -> Path:
    """The folder ``name`` of the cache, made if need be; a temporary one where it cannot be trusted or made.

    Says why in one line. Child processes use the temporary folder too; it goes with this process.
    """
    folder = cache_folder() / name
    try:
        new = not folder.exists()
        folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Others may read it: root makes one for everybody, in an image.
        folder.mkdir(mode=0o755, exist_ok=True)
        refusal = _why_not(folder.parent) or _why_not(folder)
        with suppress(OSError):  # another process removes them too; or it is root's, for everybody
            os.utime(folder)  # by this it is told which were used last
            if new:
                _remove_old_folders(folder)
    except OSError as error:
        refusal = error.strerror or str(error)
    if refusal is None:
        return folder
    temporary = Path(tempfile.mkdtemp(prefix="dials-kernels-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    os.environ[CACHE_VARIABLE] = str(temporary)
    logger.warning(
        "%s: %s: kernels are compiled anew, into a temporary folder (set %s to a folder of yours)",
        folder,
        refusal,
        CACHE_VARIABLE,
    )
    (temporary / name).mkdir()
    return temporary / name


def _why_not(folder: Path) -> str | None:
    """Why machine code must not be read from an existing ``folder``; None where it may."""
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        return "not a folder"
    if status.st_uid not in (os.geteuid(), 0):
        return f"{folder} belongs to another user, whose machine code would run as yours"
    if status.st_mode & 0o022:
        return f"other users can write to {folder}, and their machine code would run as yours (chmod go-w)"
    if not os.access(folder, os.R_OK | os.X_OK):
        return f"{folder} cannot be read"
    return None


def _remove_old_folders(newest: Path) -> None:
    folders = sorted(newest.parent.glob("kernels-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in folders[_KEPT_FOLDERS:]:
        if folder != newest:
            shutil.rmtree(folder, ignore_errors=True)


class _Locator(caching.UserProvidedCacheLocator):
    """The folder of ``numba.config.CACHE_DIR``, whether it can be written to or not."""

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        return cls(py_func, py_file)


class _Entries(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012  # a list in Numba


class _SealedFiles(caching.IndexDataCacheFile):
    """Index and machine code of one kernel, each behind its hash."""

    def _dump(self, obj: Any) -> bytes:
        data: bytes = super()._dump(obj)
        return hashlib.sha256(data).digest() + data

    def _save_index(self, overloads: dict[Any, str]) -> None:
        data = self._dump((self._version, self._source_stamp, super()._dump(overloads)))
        with self._open_for_write(self._index_path) as file:
            file.write(data)

    def _load_index(self) -> dict[Any, str]:
        try:
            version, stamp, pickled = _unsealed(self._index_path)
        except OSError:  # there is none; where it cannot be read it cannot be written either, which is said
            return {}
        if (version, stamp) != (self._version, self._source_stamp):
            return {}  # what another version of Numba has pickled may not be there to be unpickled
        overloads: dict[Any, str] = pickle.loads(pickled)
        return overloads

    def _load_data(self, name: str) -> Any:
        return _unsealed(self._data_path(name))

    def remove(self) -> None:
        """Remove all files of this kernel."""
        for path in Path(self._cache_path).glob(f"{glob.escape(self._index_name.removesuffix('.nbi'))}.*"):
            with suppress(OSError):  # of another user's: it is passed over every time
                path.unlink()


def _unsealed(path: str) -> Any:
    data = Path(path).read_bytes()
    digest, data = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        raise DamagedFileError(path)
    return pickle.loads(data)


@functools.cache
def _say_once(text: str) -> None:
    logger.warning(text)


class KernelCache(caching.FunctionCache):
    """The cache of one kernel, for all types that it is compiled for."""

    _impl_class = _Entries

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file: _SealedFiles = _SealedFiles(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The machine code for the types ``sig``; None where there is none, or none that is whole."""
        try:
            return super().load_overload(sig, target_context)
        except DamagedFileError as error:
            logger.warning("%s: damaged: removed, its kernel is compiled again", error)
            self._cache_file.remove()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep machine code; where that cannot be written it is only said, once a process."""
        try:
            super().save_overload(sig, data)
        except (OSError, DamagedFileError) as error:
            folder = Path(self._cache_path).parent
            _say_once(
                f"{folder}: compiled kernels cannot be kept: {getattr(error, 'strerror', None) or error}"
            )
