// Each line of standard input is a JSON list of calls. They are made at once, on one connection, and how each of them
// ended is printed as a line with a list in the same order. Arguments: the daemon's address, its CA, the .proto files.
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const { Readable } = require("node:stream");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, ca, protos] = process.argv.slice(2);
const contract = loader.loadSync("mcp/v1/agent.proto", {
  includeDirs: [protos],
  keepCase: true,
  longs: String,
  enums: String,
  bytes: String, // base64
  defaults: true,
});
const { AgentService } = grpc.loadPackageDefinition(contract).mcp.v1;
const client = new AgentService(address, grpc.credentials.createSsl(fs.readFileSync(ca)));

// requests: one, or those of a stream, which stays open with leave_open; metadata: values by key; deadline_ms: from now;
// cancel_after: as many messages.
function made({ rpc, requests, leave_open, metadata, deadline_ms, cancel_after }) {
  return new Promise((resolve) => {
    const { requestStream, responseStream } = AgentService.service[rpc];
    const messages = [];
    const sent = new grpc.Metadata({ waitForReady: true });
    for (const [key, value] of Object.entries(metadata)) {
      sent.add(key, key.endsWith("-bin") ? Buffer.from(value) : value);
    }
    const options = { deadline: Date.now() + deadline_ms };
    const take = (error, message) => error || messages.push(message);
    const call = client[rpc](
      ...(requestStream ? [] : requests),
      sent,
      options,
      ...(responseStream ? [] : [take]),
    );
    let left = responseStream ? 2 : 1; // the status, and the end of a stream, in any order
    let ended = null;
    const end = () => --left || resolve({ ...ended, messages });
    call.on("error", () => {}); // the status says it
    call.on("status", ({ code, details }) => {
      ended = { status: grpc.status[code], details };
      end();
    });
    if (requestStream) {
      Readable.from(requests).pipe(call, { end: !leave_open });
    }
    if (responseStream) {
      call.on("end", end);
      call.on("data", (message) => {
        messages.push(message);
        if (messages.length === cancel_after) {
          call.cancel();
        }
      });
    }
  });
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const answers = await Promise.all(JSON.parse(line).map(made));
    console.log(JSON.stringify(answers));
  }
  client.close();
}

main();
