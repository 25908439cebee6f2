"""The lease table in DynamoDB: reads leases and writes them under conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.errors import SparkException
from headwater.streaming.kinesis.leases import ShardCheckpoint, ShardLease

# A new table is waited for this long, in steps of a second.
CREATE_SECONDS_MAX = 60


class LeaseTable:
    """A lease table. Safe to use from any thread.

    Args:
        client: boto3's for DynamoDB.
        name: of the table; it is made when it is first read.
        stream: whose shards it is about. Shards of different streams have the same ids.
    """

    def __init__(self, client: Any, name: str, stream: str) -> None:
        self._client = client
        self._name = name
        self._stream = stream

    def scan(self) -> tuple[ShardLease, ...]:
        """All leases.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError: DynamoDB can't be reached or refuses.
            SparkException: the table is about another stream.
        """
        pages = self._client.get_paginator("scan").paginate(TableName=self._name, ConsistentRead=True)
        try:
            items = [item for page in pages for item in page["Items"]]
        except self._client.exceptions.ResourceNotFoundException:
            self._make()
            return ()
        others = {item["streamName"]["S"] for item in items if "streamName" in item} - {self._stream}
        if others:
            raise SparkException(
                f"The lease table {self._name!r} is about the stream {others.pop()!r}, not {self._stream!r}. Give each "
                "stream an application name of its own."
            )
        return tuple(map(_lease_of, items))

    def create(self, lease: ShardLease) -> None:
        """Put a lease into the table, unless it is there already."""
        item = {"leaseKey": {"S": lease.key}, "streamName": {"S": self._stream}, **_values(lease)}
        try:
            self._client.put_item(TableName=self._name, Item=item, ConditionExpression="attribute_not_exists(leaseKey)")
        except self._client.exceptions.ConditionalCheckFailedException:
            return  # another worker was faster

    def write(self, before: ShardLease, after: ShardLease) -> bool:
        """Change a lease, if its owner and counter are those of `before`; returns whether they were."""
        values = _values(after)
        sets = ", ".join(f"{name} = :{name}" for name in values)
        removes = "" if after.owner is not None else " REMOVE leaseOwner"
        owner = "attribute_not_exists(leaseOwner)" if before.owner is None else "leaseOwner = :before_owner"
        parameters = {f":{name}": value for name, value in values.items()}
        parameters[":before_counter"] = {"N": str(before.counter)}
        if before.owner is not None:
            parameters[":before_owner"] = {"S": before.owner}
        try:
            self._client.update_item(
                TableName=self._name,
                Key={"leaseKey": {"S": after.key}},
                UpdateExpression=f"SET {sets}{removes}",
                ConditionExpression=f"leaseCounter = :before_counter AND {owner}",
                ExpressionAttributeValues=parameters,
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def get(self, key: str) -> ShardLease | None:
        """A lease as it is now; None if there is none."""
        answer = self._client.get_item(TableName=self._name, Key={"leaseKey": {"S": key}}, ConsistentRead=True)
        return _lease_of(answer["Item"]) if "Item" in answer else None

    def delete(self, lease: ShardLease) -> None:
        """Remove a lease."""
        self._client.delete_item(TableName=self._name, Key={"leaseKey": {"S": lease.key}})

    def _make(self) -> None:
        try:
            self._client.create_table(
                TableName=self._name,
                AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
            )
        except self._client.exceptions.ResourceInUseException:
            pass  # another worker makes it
        self._client.get_waiter("table_exists").wait(
            TableName=self._name, WaiterConfig={"Delay": 1, "MaxAttempts": CREATE_SECONDS_MAX}
        )


def _values(lease: ShardLease) -> dict[str, Mapping[str, Any]]:
    """A lease's attributes but its key, as DynamoDB has them; those without a value are left out."""
    values: dict[str, Mapping[str, Any]] = {
        "leaseCounter": {"N": str(lease.counter)},
        "checkpoint": {"S": lease.checkpoint.sequence},
        "checkpointSubSequenceNumber": {"N": str(lease.checkpoint.sub)},
        "ownerSwitchesSinceCheckpoint": {"N": str(lease.switches)},
    }
    if lease.owner is not None:
        values["leaseOwner"] = {"S": lease.owner}
    if lease.parents:
        values["parentShardId"] = {"SS": list(lease.parents)}
    if lease.started_ms is not None:
        values["startedAtMs"] = {"N": str(lease.started_ms)}
    return values


def _lease_of(item: Mapping[str, Any]) -> ShardLease:
    started = item.get("startedAtMs")
    return ShardLease(
        item["leaseKey"]["S"],
        item["leaseOwner"]["S"] if "leaseOwner" in item else None,
        int(item["leaseCounter"]["N"]),
        ShardCheckpoint(item["checkpoint"]["S"], int(item.get("checkpointSubSequenceNumber", {"N": "0"})["N"])),
        tuple(item["parentShardId"]["SS"]) if "parentShardId" in item else (),
        int(item.get("ownerSwitchesSinceCheckpoint", {"N": "0"})["N"]),
        None if started is None else int(started["N"]),
    )
