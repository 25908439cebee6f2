"""Which keys are taken for secrets."""

from __future__ import annotations

import pytest

from headwater.settings.secrets import is_secret


@pytest.mark.parametrize(
    "key",
    [
        "spark.authenticate.secret",
        "spark.hadoop.fs.s3a.access.key",
        "spark.hadoop.fs.azure.account.key.x.blob.core.windows.net",
        "spark.hadoop.fs.azure.sas.container.account",
        "spark.ssl.keyPassword",
        "spark.hadoop.fs.s3a.aws.credentials.provider",
        "my.connection_string",
        "my.API_KEY",
    ],
)
def test_key_that_looks_like_a_secrets_is_one(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize("key", ["spark.app.name", "headwater.encryption.keyFile", "spark.default.parallelism"])
def test_other_key_is_none(key: str) -> None:
    assert not is_secret(key)
