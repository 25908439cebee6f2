"""Kinesis and DynamoDB in one process: kinesalite and dynalite, on loopback, with reads that can be throttled."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.servers import leave_out, node_modules
from tests.servers.processes import SERVERS

REGION = "us-east-1"
# Ends with its standard input, so also when its parent is killed. A line of that is the share of calls of one kind to
# refuse, as JSON; each is answered by a line.
PROGRAM = """
const http = require('http')
const refused = {}
function wrap(server) {
  const [handle] = server.listeners('request')
  server.removeAllListeners('request')
  server.on('request', (request, response) => {
    const call = String(request.headers['x-amz-target']).split('.')[1]
    if (Math.random() >= (refused[call] || 0)) return handle(request, response)
    request.resume()
    response.writeHead(400, {'Content-Type': 'application/x-amz-json-1.1'})
    response.end(JSON.stringify({__type: 'ProvisionedThroughputExceededException', message: 'Slow down'}))
  })
  return new Promise(ready => server.listen(0, '127.0.0.1', () => ready(server.address().port)))
}
// Both give up when a client is killed in the middle of a request.
process.on('uncaughtException', error => {
  if (error.code === 'ECONNRESET') return
  console.error(error)
  process.exit(1)
})
const fast = {createStreamMs: 20, deleteStreamMs: 20, updateStreamMs: 20, createTableMs: 20, shardLimit: 500}
Promise.all([wrap(require('kinesalite')(fast)), wrap(require('dynalite')(fast))]).then(ports => {
  console.log(JSON.stringify(ports))
  require('readline').createInterface({input: process.stdin}).on('line', line => {
    Object.assign(refused, JSON.parse(line))
    console.log('done')
  }).on('close', () => process.exit())
})
"""


class KinesisServer:
    """A running server. `url` is Kinesis', `dynamodb_url` DynamoDB's."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        kinesis, dynamodb = json.loads(self._answer())
        self.url, self.dynamodb_url = f"http://127.0.0.1:{kinesis}", f"http://127.0.0.1:{dynamodb}"

    def client(self, service: str) -> Any:
        """boto3's client for `kinesis` or `dynamodb`."""
        import boto3

        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url if service == "kinesis" else self.dynamodb_url,
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )

    @contextmanager
    def refusing(self, call: str, share: float) -> Iterator[None]:
        """Answer this share of such calls by ProvisionedThroughputExceededException."""
        self._refuse(call, share)
        try:
            yield
        finally:
            self._refuse(call, 0)

    def stream(self, shards: int = 1) -> KinesisStream:
        """A new stream, which is ready."""
        stream = KinesisStream(self.client("kinesis"), f"stream-{uuid.uuid4().hex[:8]}")
        stream.client.create_stream(StreamName=stream.name, ShardCount=shards)
        stream.await_active()
        return stream

    def _refuse(self, call: str, share: float) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({call: share}) + "\n")
        self._process.stdin.flush()
        assert self._answer() == "done"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "kinesalite or dynalite ended"
        return line


class KinesisStream:
    """A stream on the server."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name

    def put(self, records: list[str]) -> None:
        """Put texts, each under itself as partition key."""
        for first in range(0, len(records), 500):
            rows = [{"Data": text.encode(), "PartitionKey": text} for text in records[first : first + 500]]
            self.client.put_records(StreamName=self.name, Records=rows)

    def shards(self) -> list[dict[str, Any]]:
        """The shards that take records."""
        listed = self.client.list_shards(StreamName=self.name)["Shards"]
        return [shard for shard in listed if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]

    def split(self, shard: dict[str, Any]) -> None:
        """Split a shard in the middle."""
        keys = shard["HashKeyRange"]
        middle = (int(keys["StartingHashKey"]) + int(keys["EndingHashKey"])) // 2
        self.client.split_shard(StreamName=self.name, ShardToSplit=shard["ShardId"], NewStartingHashKey=str(middle))
        self.await_active()

    def merge(self, left: dict[str, Any], right: dict[str, Any]) -> None:
        """Merge two neighbours."""
        self.client.merge_shards(
            StreamName=self.name, ShardToMerge=left["ShardId"], AdjacentShardToMerge=right["ShardId"]
        )
        self.await_active()

    def await_active(self) -> None:
        """Wait until the stream is as was last asked for."""
        self.client.get_waiter("stream_exists").wait(
            StreamName=self.name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 200}
        )


@pytest.fixture(scope="session")
def kinesis_server() -> Iterator[KinesisServer]:
    """The server, started once."""
    try:
        import boto3  # noqa: F401
    except ImportError:
        leave_out("Kinesis", "pip install 'headwater[kinesis]'")
    modules = node_modules("Kinesis (kinesalite and dynalite)")
    environment = {**os.environ, "NODE_PATH": str(modules), "NODE_NO_WARNINGS": "1"}
    command = ["node", "--max-old-space-size=300", "-e", PROGRAM]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
    SERVERS.add(process.pid)
    try:
        yield KinesisServer(process)
    finally:
        process.kill()
        process.communicate()
