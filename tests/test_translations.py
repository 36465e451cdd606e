"""Everything a person reads exists in Romanian and Spanish, and nothing translated is stale."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polib
import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "postroom"
LANGUAGES = ("ro", "es")


def catalogue(language: str) -> polib.POFile:
    return polib.pofile(str(PACKAGE / "locale" / language / "LC_MESSAGES" / "django.po"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_string_is_translated(language: str) -> None:
    entries = [e for e in catalogue(language) if not e.obsolete]
    assert entries
    assert [e.msgid for e in entries if not e.translated() or e.fuzzy] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_placeholders_survive_translation(language: str) -> None:
    placeholder = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w*\}")
    wrong = [
        entry.msgid
        for entry in catalogue(language)
        if not entry.msgid_plural
        and not entry.obsolete
        and sorted(placeholder.findall(entry.msgid)) != sorted(placeholder.findall(entry.msgstr))
    ]
    assert wrong == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_catalogue_is_the_source(language: str) -> None:
    compiled = polib.mofile(str(PACKAGE / "locale" / language / "LC_MESSAGES" / "django.mo"))
    source = catalogue(language)
    assert {(e.msgctxt, e.msgid): (e.msgstr, e.msgstr_plural) for e in compiled} == {
        (e.msgctxt, e.msgid): (e.msgstr, e.msgstr_plural) for e in source if not e.obsolete
    }


@pytest.mark.skipif(not shutil.which("xgettext"), reason="needs gettext: apt-get install gettext")
def test_no_string_in_the_code_is_missing_from_the_catalogues(tmp_path: Path) -> None:
    copy = tmp_path / "postroom"
    shutil.copytree(PACKAGE, copy)
    options = ["-l", "ro", "--no-location", "--no-wrap", "-v", "0"]
    subprocess.run(
        [Path(sys.executable).with_name("django-admin"), "makemessages", *options],
        cwd=copy,
        check=True,
        capture_output=True,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
    )
    fresh = {e.msgid for e in polib.pofile(str(copy / "locale/ro/LC_MESSAGES/django.po")) if not e.obsolete}
    for language in LANGUAGES:
        assert fresh == {e.msgid for e in catalogue(language) if not e.obsolete}
