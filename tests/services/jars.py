"""Java programs that tests start: fetched with Maven once for each user, outside of any checkout.

Maven takes a tampered file from its own cache without complaint, so every file is held against the list
beside the pom before it runs, and one that the list does not name is refused as well.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path

from tests.services.programs import NotHere, find_java, find_maven

HERE = Path(__file__).parent
POM, SUMS = HERE / "kafka.pom.xml", HERE / "kafka.sha256"
REGISTRY = "apicurio-registry-app-2.6.13.Final-all.tar.gz"
FETCH_SECONDS = 300


@cache
def kafka_and_registry() -> Path:
    """The folder with `kafka/` and the registry's archive, every file of it as listed."""
    find_java()
    found = folder()
    if not found.is_dir():
        raise NotHere(f"Kafka and its registry were not fetched ({HOW})")
    if problem := differing(found, listed(SUMS)):
        raise NotHere(f"{problem}: remove {found} ({HOW})")
    return found


HOW = "make services; it needs Java 17 and Maven: apt-get install openjdk-17-jre-headless maven"


def folder() -> Path:
    """Where they are: below the user's cache, so that neither a clean nor a second checkout fetches again.

    Another list is another folder: versions never mix.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "tapekeeper" / f"kafka-{hashlib.sha256(SUMS.read_bytes()).hexdigest()[:12]}"


def listed(sums: Path) -> dict[str, str]:
    """The sum of every file that may be there."""
    return {name: digest for digest, name in (line.split() for line in sums.read_text().splitlines())}


def differing(there: Path, wanted: dict[str, str]) -> str:
    """What is not as listed; empty where all is."""
    names = {path.relative_to(there).as_posix() for path in there.rglob("*") if not path.is_dir()}
    if unlisted := sorted(names - wanted.keys()):
        return f"{unlisted[0]} is not on the list"
    for name, digest in wanted.items():
        if name not in names:
            return f"{name} is missing"
        with (there / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return f"{name} is not the file that we know"
    return ""


def fetch() -> None:
    """Fetch them if they are not there; what is not as listed is thrown away."""
    found = folder()
    if found.is_dir():
        return
    find_java()
    maven = find_maven()
    print("set-up: Kafka and a registry, with Maven (once, 180 MB)", file=sys.stderr)
    found.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=found.parent) as name:
        fetching = Path(name) / "fetched"
        words = [str(maven), "-q", "-B", "-f", str(POM), f"-Dfolder={fetching}", "validate"]
        subprocess.run(words, check=True, timeout=FETCH_SECONDS)
        if problem := differing(fetching, listed(SUMS)):
            raise NotHere(problem)
        if not found.is_dir():  # another checkout was quicker
            fetching.rename(found)


def unpack(archive: Path, into: Path) -> None:
    """Unpack an archive that was checked."""
    with tarfile.open(archive) as files:
        files.extractall(into, filter="data")


def command() -> int:
    """Fetch; where that cannot be, tests say what they did not prove."""
    try:
        fetch()
    except (NotHere, OSError, subprocess.SubprocessError, shutil.Error) as error:
        print(f"Kafka cannot be had here: what needs it is not tested: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(command())
