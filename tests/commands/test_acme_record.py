"""The record of issued certificates: what is kept, and what is read again."""

from __future__ import annotations

from pathlib import Path

from backup.acme_json import Certificate
from commands import acme_record
from tests.backup.traefiks import BEGINS, ENDS


def test_the_record_has_the_newest_certificate_of_each_server_and_name(tmp_path: Path) -> None:
    old = acme_record.Signed(
        server="staging", certificate=Certificate(("tazlab.net",), BEGINS, BEGINS)
    )
    new = acme_record.Signed(
        server="staging", certificate=Certificate(("tazlab.net",), BEGINS, ENDS)
    )
    other = acme_record.Signed(server="production", certificate=new.certificate)
    acme_record.keep(tmp_path, "homelab", [old])
    acme_record.keep(tmp_path, "homelab", [new, other])
    assert acme_record.load(tmp_path, "homelab") == (new, other)
    assert acme_record.load(tmp_path, "ha") == ()
    acme_record.file(tmp_path, "homelab").write_text('[{"server": 1}]')
    assert acme_record.load(tmp_path, "homelab") == ()
