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


def connection_string(port: int) -> str:
    """How clients of Azure are told of a server of one's own."""
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    parts = {"DefaultEndpointsProtocol": "http", "AccountName": ACCOUNT, "AccountKey": ACCOUNT_KEY}
    return ";".join(f"{name}={value}" for name, value in {**parts, "BlobEndpoint": endpoint}.items())


def settings_at(port: int) -> dict[str, str]:
    """What a program sets: the account's key as for Spark, and where the server is."""
    return {
        f"spark.hadoop.fs.azure.account.key.{ACCOUNT}.dfs.core.windows.net": ACCOUNT_KEY,
        "headwater.filesystem.abfs.connection_string": connection_string(port),
    }


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The server, started once."""
    if not all(map(importlib.util.find_spec, ("adlfs", "aiohttp"))):
        leave_out("Azure (azurite)", "pip install 'headwater[azure]'")
    from azure.storage.blob import BlobServiceClient

    script = node_modules("Azure (azurite)") / "azurite" / "dist" / "src" / "blob" / "main.js"
    directory, port = tmp_path_factory.mktemp("azurite"), free_port()
    command = ["node", "--max-old-space-size=300", str(script), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    command += ["--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"]
    with running(command, directory / "log") as process:
        await_answer(port, process, directory / "log")
        with BlobServiceClient.from_connection_string(connection_string(port)) as client:
            client.create_container(CONTAINER)
        host = f"{CONTAINER}@{ACCOUNT}.dfs.core.windows.net"
        blob_host = f"{CONTAINER}@{ACCOUNT}.blob.core.windows.net"
        spellings = (f"abfss://{host}", f"wasbs://{blob_host}", f"wasb://{blob_host}", f"az://{CONTAINER}")
        yield Store("azure", f"abfs://{host}", port, settings_at, spellings)
