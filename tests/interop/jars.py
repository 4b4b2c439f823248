"""What others' programs are made of: fetched with Maven once, and refused where a file is not as listed."""

import hashlib
import subprocess
from functools import cache
from pathlib import Path

from tests.services.programs import find_java, find_maven

HERE = Path(__file__).parent
JARS = HERE.parent.parent / "build" / "interop" / "jars"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def jars(*beginnings: str) -> list[Path]:
    """The files whose names begin so."""
    found = [path for path in all_jars() if path.name.startswith(beginnings)]
    assert found, beginnings
    return found


@cache
def all_jars() -> list[Path]:
    """All of them."""
    find_java()
    lines = (HERE / "jars.sha256").read_text().splitlines()
    wanted = {name: digest for digest, name in (line.split() for line in lines)}
    if not wanted.keys() <= {path.name for path in JARS.glob("*.jar")}:
        maven = str(find_maven())
        pom, into = str(HERE / "pom.xml"), f"-DoutputDirectory={JARS}"
        subprocess.run([maven, "-q", "-B", "-f", pom, COPY, into], check=True)
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in JARS.glob("*.jar")}
    if found != wanted:
        raise SystemExit(f"the files in {JARS} are not those of {HERE / 'jars.sha256'}")
    return [JARS / name for name in wanted]
