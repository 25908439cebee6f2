"""Azure's blob storage: azurite, with a container. It checks signatures."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.servers import leave_out, node_modules
from tests.servers.processes import await_answer, free_port, running
from tests.servers.stores import Store

ACCOUNT, CONTAINER = "devstoreaccount1", "container"
# The one that azurite's documentation gives to everybody.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def settings_at(port: int) -> dict[str, str]:
    """What a program sets: the account's key as for Spark, and where the server is; URLs by az: name no account."""
    return {
        f"spark.hadoop.fs.azure.account.key.{ACCOUNT}.dfs.core.windows.net": ACCOUNT_KEY,
        "headwater.filesystem.abfs.endpoint": f"http://127.0.0.1:{port}/{ACCOUNT}",
        "headwater.filesystem.az.account_name": ACCOUNT,
        "headwater.filesystem.az.account_key": ACCOUNT_KEY,
    }


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The server, started once."""
    if not all(map(importlib.util.find_spec, ("obstore", "azure.identity", "azure.storage"))):
        leave_out("Azure (azurite)", "pip install 'headwater[azure]'")
    from azure.storage.blob import BlobServiceClient

    script = node_modules("Azure (azurite)") / "azurite" / "dist" / "src" / "blob" / "main.js"
    directory, port = tmp_path_factory.mktemp("azurite"), free_port()
    command = ["node", "--max-old-space-size=300", str(script), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    command += ["--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"]
    with running(command, directory / "log") as process:
        await_answer(port, process, directory / "log")
        with BlobServiceClient(f"http://127.0.0.1:{port}/{ACCOUNT}", ACCOUNT_KEY) as client:
            client.create_container(CONTAINER)
        host = f"{CONTAINER}@{ACCOUNT}.dfs.core.windows.net"
        blob_host = f"{CONTAINER}@{ACCOUNT}.blob.core.windows.net"
        spellings = (f"abfss://{host}", f"wasbs://{blob_host}", f"wasb://{blob_host}", f"az://{CONTAINER}")
        yield Store("azure", f"abfs://{host}", port, settings_at, spellings)
