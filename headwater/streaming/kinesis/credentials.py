"""Who a Kinesis stream's program is to AWS: by name where possible, and never in a pickle.

Keys given in the program stay in the driver's memory; each launch of a receiver hands them to its executor. A
checkpoint doesn't have them: after a restart from one they are taken from the driver's environment.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from headwater.base import extras
from headwater.errors import IllegalArgumentException

if TYPE_CHECKING:
    import boto3

logger = logging.getLogger("headwater.streaming.kinesis")


class Keys(NamedTuple):
    """An access key."""

    access_key_id: str
    secret_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return "Keys(...)"


class Role(NamedTuple):
    """A role that is assumed through STS, and assumed again before its credentials run out."""

    arn: str
    session_name: str
    external_id: str | None


@dataclass(frozen=True)
class SparkAWSCredentials:
    """Where credentials come from; made by `SparkAWSCredentials.builder()`.

    Without anything: what boto3 finds by itself, that is environment variables, the shared files, the machine's role.
    """

    profile: str | None = None
    role: Role | None = None
    keys: Keys | None = field(default=None, repr=False)  # in no pickle
    had_keys: bool = False  # whether the program gave keys

    @staticmethod
    def builder() -> SparkAWSCredentialsBuilder:
        """A builder of credentials."""
        return SparkAWSCredentialsBuilder()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "keys": None}

    def revealed(self) -> Keys | None:
        """The keys to hand to an executor: the program's, or after a restart the environment's."""
        if self.keys is not None or not self.had_keys:
            return self.keys
        access_key_id, secret_key = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
        if access_key_id and secret_key:
            return Keys(access_key_id, secret_key, os.environ.get("AWS_SESSION_TOKEN"))
        logger.warning(
            "The AWS keys that the program gave are not in the checkpoint, and AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY are not set in the driver's environment: what boto3 finds in the executor is used."
        )
        return None

    def with_keys(self, keys: Keys | None) -> SparkAWSCredentials:
        """These credentials, once more with what `revealed` gave."""
        return replace(self, keys=keys)

    def session(self) -> boto3.Session:
        """A session that has these credentials.

        Raises:
            SparkException: boto3 isn't installed.
            botocore.exceptions.ProfileNotFound: there is no such profile.
        """
        boto3 = extras.require("boto3", "kinesis", "Kinesis streams")
        if self.keys is None:
            session = boto3.Session(profile_name=self.profile)
        else:
            session = boto3.Session(
                aws_access_key_id=self.keys.access_key_id,
                aws_secret_access_key=self.keys.secret_key,
                aws_session_token=self.keys.session_token,
            )
        return session if self.role is None else _assumed(boto3, session, self.role)


class SparkAWSCredentialsBuilder:
    """Builds `SparkAWSCredentials`; methods return the builder."""

    def __init__(self) -> None:
        self._profile: str | None = None
        self._keys: Keys | None = None
        self._role: Role | None = None

    def basicCredentials(self, accessKeyId: str, secretKey: str) -> SparkAWSCredentialsBuilder:
        """Use an access key. A checkpoint won't have it: a restart takes it from the driver's environment."""
        self._keys = Keys(accessKeyId, secretKey)
        return self

    def profileCredentials(self, profileName: str) -> SparkAWSCredentialsBuilder:
        """Use a profile of the executors' shared AWS files."""
        self._profile = profileName
        return self

    def stsCredentials(
        self, roleArn: str, sessionName: str, externalId: str | None = None
    ) -> SparkAWSCredentialsBuilder:
        """Assume a role, with the access key or profile that is given, else with what boto3 finds."""
        self._role = Role(roleArn, sessionName, externalId)
        return self

    def build(self) -> SparkAWSCredentials:
        """The credentials.

        Raises:
            IllegalArgumentException: an access key and a profile are given.
        """
        if self._keys is not None and self._profile is not None:
            raise IllegalArgumentException("Give an access key or a profile, not both")
        return SparkAWSCredentials(self._profile, self._role, self._keys, self._keys is not None)


def credentials_of(
    access_key_id: str | None, secret_key: str | None, role: Mapping[str, str | None]
) -> SparkAWSCredentials:
    """Credentials of `KinesisUtils.createStream`'s arguments.

    Args:
        role: the values of stsAssumeRoleArn, stsSessionName and stsExternalId by these names.

    Raises:
        IllegalArgumentException: only a part of what belongs together is given.
    """
    if access_key_id is None and secret_key is not None:
        raise IllegalArgumentException("awsSecretKey is set but awsAccessKeyId is null")
    if access_key_id is not None and secret_key is None:
        raise IllegalArgumentException("awsAccessKeyId is set but awsSecretKey is null")
    builder = SparkAWSCredentials.builder()
    if access_key_id is not None and secret_key is not None:
        builder.basicCredentials(access_key_id, secret_key)
    arn, session_name, external_id = role.values()
    if arn is not None and session_name is not None and external_id is not None:
        builder.stsCredentials(arn, session_name, external_id)
    elif any(value is not None for value in role.values()):
        raise IllegalArgumentException(
            "stsAssumeRoleArn, stsSessionName, and stsExternalId must all be defined or all be null; missing: "
            + ", ".join(name for name, value in role.items() if value is None)
        )
    return builder.build()


def _assumed(boto3: Any, source: boto3.Session, role: Role) -> boto3.Session:
    """A session whose credentials are a role's, assumed with another session's."""
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
    from botocore.session import get_session

    arguments = {"RoleSessionName": role.session_name}
    if role.external_id is not None:
        arguments["ExternalId"] = role.external_id
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=source._session.create_client,
        source_credentials=source.get_credentials(),
        role_arn=role.arn,
        extra_args=arguments,
    )
    session = get_session()
    session._credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    return boto3.Session(botocore_session=session)
