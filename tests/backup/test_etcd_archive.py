"""Archives: encrypted for one key; an incomplete or foreign file is refused."""

from __future__ import annotations

import io
import tarfile

import pyrage
import pytest

from backup.etcd_archive import Archive, ArchiveError, check
from tests.backup.archives import BODY, KEY, RECIPIENT, SNAPSHOT, archive, talos_bundle


def test_only_the_age_key_opens_an_archive() -> None:
    sealed = archive().sealed(RECIPIENT)
    assert Archive.opened(sealed, str(KEY)) == archive()
    for secret in (b"cluster-secret", b"etcd's own pages"):
        assert secret not in sealed
    with pytest.raises(ArchiveError, match=r"is not encrypted for sops\.age_key"):
        Archive.opened(sealed, str(pyrage.x25519.Identity.generate()))


def test_age_and_tar_can_open_an_archive() -> None:
    plain = pyrage.decrypt(archive().sealed(RECIPIENT), [KEY])
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        assert tar.getnames() == ["etcd.db", "secrets.yaml", "castle.json"]


@pytest.mark.parametrize("content", [b"", b"not encrypted", archive().sealed(RECIPIENT)[:-9]])
def test_a_file_that_is_not_encrypted_or_damaged_is_refused(content: bytes) -> None:
    with pytest.raises(ArchiveError, match="damaged"):
        Archive.opened(content, str(KEY))


def test_other_content_encrypted_with_the_same_key_is_refused() -> None:
    with pytest.raises(ArchiveError, match="not an archive of `make snapshot`"):
        Archive.opened(pyrage.encrypt(b"a letter", [KEY.to_public()]), str(KEY))


@pytest.mark.parametrize("cut", [b"", SNAPSHOT[:-1], BODY, SNAPSHOT[1:]])
def test_an_incomplete_snapshot_is_refused(cut: bytes) -> None:
    check(SNAPSHOT)
    with pytest.raises(ArchiveError, match="incomplete snapshot"):
        check(cut)


def test_the_secrets_bundle_has_the_secrets_of_the_machine_config() -> None:
    bundle = talos_bundle()
    assert bundle["secrets"] == {
        "bootstraptoken": "abc.def",
        "secretboxencryptionsecret": "secretbox-secret",
    }
    assert bundle["trustdinfo"] == {"token": "machine-token"}
    assert archive().authority == "T1M="
