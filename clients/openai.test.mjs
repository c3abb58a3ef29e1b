// OpenAI's own client for JavaScript: ARGAND_URL=http://127.0.0.1:8080 ARGAND_KEY=... npm test
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const [url, key] = [process.env.ARGAND_URL ?? "http://127.0.0.1:8080", process.env.ARGAND_KEY ?? "none"];
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, timeout: 110_000 });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: "user", content: "Name three colours." }];
const basic = { model, messages, temperature: 0, max_tokens: 16 };
const weather = {
  type: "object", required: ["city"], additionalProperties: false, properties: { city: { enum: ["Rome", "Oslo"] } },
};
const tools = [{ type: "function", function: { name: "weather", parameters: weather } }];
const text = async () => (await client.chat.completions.create(basic)).choices[0].message.content;

test("models", async () => {
  assert.equal((await client.models.retrieve(model)).id, model);
  await assert.rejects(client.models.retrieve("absent"), OpenAI.NotFoundError);
});

test("chat", async () => {
  const answer = await client.chat.completions.create(basic);
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.usage.completion_tokens, 16);
  assert.equal(answer.choices[0].finish_reason, "length");
  assert.ok(answer._request_id);
});

test("a stream says the same", async () => {
  let [said, ends, usage] = ["", [], null];
  for await (const chunk of await client.chat.completions.create({ ...basic, stream: true, stream_options: { include_usage: true } })) {
    said += chunk.choices[0]?.delta.content ?? "";
    if (chunk.choices[0]?.finish_reason) ends.push(chunk.choices[0].finish_reason);
    usage = chunk.usage ?? usage;
  }
  assert.equal(said, await text());
  assert.deepEqual(ends, ["length"]);
  assert.equal(usage.completion_tokens, 16);
});

test("the client's runner adds a stream up", async () => {
  const stream = client.chat.completions.stream(basic);
  assert.equal(await stream.finalContent(), await text());
});

test("a stream is left early", async () => {
  const stream = await client.chat.completions.create({ ...basic, stream: true, max_tokens: 4000 });
  for await (const _ of stream) break;
  stream.controller.abort();
  assert.ok(await text());
});

test("tools, whole and streamed", async () => {
  const asked = { ...basic, max_tokens: 100, tools, tool_choice: "required", parallel_tool_calls: false };
  const answer = await client.chat.completions.create(asked);
  const [call] = answer.choices[0].message.tool_calls;
  assert.ok(weather.properties.city.enum.includes(JSON.parse(call.function.arguments).city));
  const streamed = await client.chat.completions.stream(asked).finalMessage();
  assert.equal(streamed.tool_calls[0].function.arguments, call.function.arguments);
});

test("a tool is run and its result is read", async () => {
  const runner = client.chat.completions.runTools({
    ...basic, max_tokens: 60, parallel_tool_calls: false, max_completion_tokens: 60,
    tools: [{ type: "function", function: { name: "weather", parameters: weather, parse: JSON.parse, function: () => "12 degrees" } }],
  }, { maxChatCompletions: 2 });
  assert.equal(typeof (await runner.finalChatCompletion()).id, "string");
});

test("a schema", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "w", schema: weather } };
  const answer = await client.chat.completions.parse({ ...basic, max_tokens: 60, response_format });
  assert.ok(weather.properties.city.enum.includes(answer.choices[0].message.parsed.city));
});

test("completions", async () => {
  const answer = await client.completions.create({ model, prompt: ["Once", "The sea"], max_tokens: 4, temperature: 0 });
  assert.equal(answer.choices.length, 2);
});

test("responses", async () => {
  const first = await client.responses.create({ model, input: "Hello.", max_output_tokens: 8 });
  assert.ok(first.output_text);
  const second = await client.responses.create({ model, input: "Go on.", previous_response_id: first.id, max_output_tokens: 8 });
  assert.equal(second.previous_response_id, first.id);
  assert.equal((await client.responses.retrieve(first.id)).id, first.id);
  const items = [];
  for await (const item of client.responses.inputItems.list(first.id)) items.push(item);
  assert.equal(items.length, 1);
  await client.responses.delete(first.id);
});

test("a stream of a response", async () => {
  const kinds = [];
  for await (const event of await client.responses.create({ model, input: "Hello.", max_output_tokens: 4, stream: true })) {
    assert.equal(event.sequence_number, kinds.length);
    kinds.push(event.type);
  }
  assert.equal(kinds[0], "response.created");
  assert.ok(["response.completed", "response.incomplete"].includes(kinds.at(-1)));
});

test("errors", async () => {
  await assert.rejects(client.chat.completions.create({ ...basic, temperature: 9 }), (error) =>
    error instanceof OpenAI.BadRequestError && error.param === "temperature");
  await assert.rejects(client.chat.completions.create({ ...basic, model: "absent" }), OpenAI.NotFoundError);
  const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
});

test("a client that does not wait", async () => {
  await assert.rejects(client.chat.completions.create({ ...basic, max_tokens: 4000 }, { timeout: 100 }), OpenAI.APIConnectionTimeoutError);
});

test("twenty at once", async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, text));
  assert.equal(new Set(answers).size, 1);
});
