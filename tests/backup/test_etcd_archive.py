"""An archive: sealed for one key, whole or refused."""

from __future__ import annotations

import io
import tarfile

import pyrage
import pytest

from backup.etcd_archive import Archive, ArchiveError, check
from tests.backup.archives import BODY, KEY, RECIPIENT, SNAPSHOT, archive, talos_bundle


def test_what_was_sealed_is_opened_by_its_key_alone() -> None:
    sealed = archive().sealed(RECIPIENT)
    assert Archive.opened(sealed, str(KEY)) == archive()
    for secret in (b"cluster-secret", b"etcd's own pages"):
        assert secret not in sealed
    with pytest.raises(ArchiveError, match=r"no file that sops\.age_key opens"):
        Archive.opened(sealed, str(pyrage.x25519.Identity.generate()))


def test_anybody_with_the_key_opens_it_without_us() -> None:
    plain = pyrage.decrypt(archive().sealed(RECIPIENT), [KEY])
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        assert tar.getnames() == ["etcd.db", "secrets.yaml", "castle.json"]


@pytest.mark.parametrize("content", [b"", b"not encrypted", archive().sealed(RECIPIENT)[:-9]])
def test_a_file_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(ArchiveError, match="damaged"):
        Archive.opened(content, str(KEY))


def test_something_else_for_the_same_key_is_refused() -> None:
    with pytest.raises(ArchiveError, match="not what `make snapshot` writes"):
        Archive.opened(pyrage.encrypt(b"a letter", [KEY.to_public()]), str(KEY))


@pytest.mark.parametrize("cut", [b"", SNAPSHOT[:-1], BODY, SNAPSHOT[1:]])
def test_a_snapshot_that_is_not_whole_is_refused(cut: bytes) -> None:
    check(SNAPSHOT)
    with pytest.raises(ArchiveError, match="no whole snapshot"):
        check(cut)


def test_the_machine_secrets_are_those_of_the_machine_config() -> None:
    bundle = talos_bundle()
    assert bundle["secrets"] == {
        "bootstraptoken": "abc.def",
        "secretboxencryptionsecret": "secretbox-secret",
    }
    assert bundle["trustdinfo"] == {"token": "machine-token"}
    assert archive().authority == "T1M="
