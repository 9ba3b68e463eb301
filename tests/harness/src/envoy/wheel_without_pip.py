"""Downloads one wheel for this machine where python3 has no pip, as on a bare Debian.

Speaks the JSON form of the simple repository API (PEP 691), honours PIP_INDEX_URL, and checks
the SHA-256 that the index tells.
"""

import hashlib
import json
import os
import platform
import sys
import urllib.parse
import urllib.request

project, version, folder = sys.argv[1:]
index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
page = f"{index}/{project}/"
host = urllib.parse.urlsplit(index).hostname  # the URL itself may hold a password
machine = platform.machine()
system = "macosx" if platform.system() == "Darwin" else "manylinux"

try:
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    with urllib.request.urlopen(urllib.request.Request(page, headers=accept), timeout=60) as answer:
        files = json.load(answer)["files"]
    prefix = f"{project.replace('-', '_')}-{version}-"
    wheels = [
        file
        for file in files
        if file["filename"].startswith(prefix)
        and file["filename"].endswith(f"_{machine}.whl")
        and system in file["filename"]
    ]
    if not wheels:
        sys.exit(f"{host} has no wheel for {system} on {machine}")
    url = urllib.parse.urljoin(page, wheels[0]["url"])
    with urllib.request.urlopen(url, timeout=60) as answer:
        wheel = answer.read()
    if hashlib.sha256(wheel).hexdigest() != wheels[0]["hashes"]["sha256"]:
        sys.exit(f"the wheel from {host} does not have the checksum that the index tells")
    with open(os.path.join(folder, wheels[0]["filename"]), "wb") as target:
        target.write(wheel)
except (OSError, ValueError, KeyError) as error:
    sys.exit(f"{host}: {error}")
