"""Azure: how its settings are understood, and what is said where something is missing."""

from __future__ import annotations

import os
from typing import Any

import pytest

from headwater import filesystem
from headwater.filesystem import options
from tests.servers.azure import ACCOUNT, ACCOUNT_KEY, CONTAINER
from tests.servers.stores import Store
from tests.stores.test_files import write

URL = "abfs://words@acme.dfs.core.windows.net/in"
HOST = "acme.dfs.core.windows.net"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)


def translated(url: str = URL, **settings: str) -> dict[str, Any]:
    pairs = {f"spark.hadoop.fs.azure.{key.replace('__', '.')}": value for key, value in settings.items()}
    found = options.locate(url, pairs).options
    assert found.pop("retry_config") == {"max_retries": 1}
    return found


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"account__key": "a"}, {"account_key": "a"}),
        ({"account__key": "all", f"account__key__{HOST}": "one"}, {"account_key": "one"}),
        ({"account__key__acme__blob__core__windows__net": "b"}, {"account_key": "b"}),
        ({"sas__fixed__token": "?sv=1&sig=c"}, {"sas_key": "sv=1&sig=c"}),
        (
            {
                "account__oauth2__client__id": "d",
                "account__oauth2__client__secret": "e",
                "account__oauth2__client__endpoint": "https://login.microsoftonline.com/tenant/oauth2/token",
            },
            {"client_id": "d", "client_secret": "e", "tenant_id": "tenant"},
        ),
    ],
)
def test_hadoops_keys_have_their_meaning(settings: dict[str, str], expected: dict[str, str]) -> None:
    assert translated(**settings) == {"account_name": "acme", **expected}


def test_account_that_nobody_names_is_asked_for(azure: Store) -> None:
    filesystem.configure({})
    with pytest.raises(ValueError, match="set headwater.filesystem.abfs.account_name"):
        filesystem.exists("az://words/in")


def test_missing_credentials_are_told_at_once(azure: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")  # it would ask the machine's network
    filesystem.configure({})
    with pytest.raises(PermissionError, match=r"set spark\.hadoop\.fs\.azure\.account\.key"):
        filesystem.exists(URL)


def test_account_and_key_of_the_environment_are_found(azure: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY)
    endpoint = "headwater.filesystem.abfs.endpoint"
    filesystem.configure({endpoint: azure.settings[endpoint]})
    assert not filesystem.exists(f"az://{CONTAINER}/none")


def test_wrong_key_is_told_at_once(azure: Store) -> None:
    wrong = {key: "d3Jvbmc=" if "key" in key else value for key, value in azure.settings.items()}
    filesystem.configure(wrong)
    with pytest.raises(PermissionError, match=CONTAINER):
        filesystem.exists(f"{azure.root}/in")


def test_removal_takes_what_another_one_removes_meanwhile(azure: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore

    filesystem.configure(dict(azure.settings))
    place = azure.place()
    for number in range(3):
        write(f"{place}/{number}", b"x")
    system, path = filesystem.resolve(place)
    delete = obstore.delete

    def delete_after_another(store: Any, paths: Any) -> None:
        monkeypatch.setattr(obstore, "delete", delete)
        delete(store, paths[:2])
        delete(store, paths)

    monkeypatch.setattr(obstore, "delete", delete_after_another)
    system.remove(path)
    assert not filesystem.exists(place)


def test_missing_container_is_told_and_holds_nothing_to_remove(azure: Store) -> None:
    filesystem.configure(dict(azure.settings))
    url = azure.root.replace(f"{CONTAINER}@", "nocontainer@")
    with pytest.raises(filesystem.InvalidInputException, match="Input path does not exist: abfs://nocontainer@"):
        filesystem.list_files(f"{url}/in")
    filesystem.remove(f"{url}/in")


def test_file_of_blocks_is_put_together(azure: Store) -> None:
    filesystem.configure(dict(azure.settings))
    place = azure.place()
    content = bytes(range(256)) * 50_000
    write(f"{place}/large", content)
    with filesystem.open_read(f"{place}/large") as file:
        assert file.read() == content
