"""The Chinese catalogue is complete: nothing missing, fuzzy or stale, and what is compiled is what is written."""

import gettext
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command

CATALOGUE = settings.BASE_DIR / "locale" / "zh_Hans" / "LC_MESSAGES"
PLACEHOLDER = re.compile(r"%(?:\((\w+)\))?[-+ 0#]*[\d.]*[sdfg]")


def entries(path: Path) -> dict[str, str]:
    """Texts and their translations, as msgfmt reads them (fuzzy ones left out)."""
    compiled = path.with_suffix(".checked.mo")
    subprocess.run(["msgfmt", "--check-format", "--check-domain", "-o", str(compiled), str(path)], check=True)
    with compiled.open("rb") as file:
        catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]  # has no public list
    return {key[0] if isinstance(key, tuple) else key: text for key, text in catalogue.items() if key}


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue after makemessages on a copy of the sources: what the code asks for today."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("accounts", "billing", "channels_app", "gateway", "oneapi_site", "templates", "locale"):
        shutil.copytree(settings.BASE_DIR / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.mo"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy)
        patch.setattr(settings, "LOCALE_PATHS", [copy / "locale"])
        call_command("makemessages", locale=["zh_Hans"], no_obsolete=True, verbosity=0)
    return copy / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"


def test_every_text_is_translated(extracted: Path) -> None:
    text = extracted.read_text(encoding="utf-8")
    assert "#, fuzzy" not in text.partition("\n\n")[2]
    asked = subprocess.run(["msgattrib", "--untranslated", "--no-wrap", str(extracted)], check=True, capture_output=True, text=True).stdout
    assert re.findall(r'^msgid "(.+)"$', asked, re.MULTILINE) == []


def test_placeholders_are_the_same_in_both_languages(tmp_path: Path) -> None:
    copy = shutil.copy(CATALOGUE / "django.po", tmp_path / "django.po")
    for source, translated in entries(Path(copy)).items():
        if source:
            wanted = {found for found in PLACEHOLDER.findall(source) if found}
            assert wanted == {found for found in PLACEHOLDER.findall(translated) if found}, source


def test_the_compiled_catalogue_is_the_written_one(tmp_path: Path) -> None:
    copy = tmp_path / "django.po"
    shutil.copy(CATALOGUE / "django.po", copy)
    with (CATALOGUE / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]  # has no public list
    assert {key[0] if isinstance(key, tuple) else key: text for key, text in compiled.items() if key} == entries(copy)
