// OpenAI's own client for Node asks `tercet serve`.
//
//     node openai_client.mjs URL KEY
//
// It runs from a folder that has the package. URL has a model with a chat template behind a key. Prints one JSON
// object: {"versions": {"openai": …}, "checks": [{"name": …, "error": null or why}]}.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import OpenAI, { AuthenticationError, BadRequestError, NotFoundError } from 'openai';

const [url, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, timeout: 60_000 });
const model = (await client.models.list()).data[0].id;
const prompt = 'Once upon a time';
const messages = [
  { role: 'system', content: 'Tell stories.' },
  { role: 'user', content: 'The cat' },
];
const schema = {
  type: 'object',
  properties: { name: { enum: ['cat', 'dog'] }, legs: { enum: [2, 4] } },
  required: ['name', 'legs'],
  additionalProperties: false,
};
const weather = {
  type: 'function',
  function: {
    name: 'weather',
    parameters: {
      type: 'object',
      properties: { city: { enum: ['Oslo', 'Rome'] } },
      required: ['city'],
      additionalProperties: false,
    },
  },
};

const complete = (fields) => client.completions.create({ model, prompt, max_tokens: 24, seed: 7, ...fields });
const chat = (fields) => client.chat.completions.create({ model, messages, max_tokens: 24, seed: 7, ...fields });

async function gather(stream) {
  const pieces = [];
  for await (const piece of stream) {
    pieces.push(piece);
  }
  return pieces;
}

const checks = {
  'models are listed and found by name': async () => {
    assert.equal((await client.models.retrieve(model)).id, model);
  },
  'errors have their types': async () => {
    const other = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'wrong', maxRetries: 0 });
    await assert.rejects(other.models.list(), (error) => error instanceof AuthenticationError && error.status === 401);
    await assert.rejects(complete({ n: 9 }), (error) => error instanceof BadRequestError && error.param === 'n');
    await assert.rejects(
      complete({ model: 'gpt-4o' }),
      (error) => error instanceof NotFoundError && error.code === 'model_not_found' && Boolean(error.requestID),
    );
  },
  'a streamed completion is the whole one': async () => {
    const whole = await complete({});
    const pieces = await gather(await complete({ stream: true, stream_options: { include_usage: true } }));
    const text = pieces.map((piece) => piece.choices[0]?.text ?? '').join('');
    assert.equal(text, whole.choices[0].text);
    assert.notEqual(text, '');
    assert.deepEqual(pieces.at(-1).choices, []);
    assert.equal(pieces.at(-1).usage.total_tokens, whole.usage.total_tokens);
  },
  'a streamed chat is the whole one': async () => {
    const whole = await chat({ logprobs: true, top_logprobs: 2 });
    const pieces = await gather(await chat({ logprobs: true, top_logprobs: 2, stream: true }));
    assert.equal(pieces[0].choices[0].delta.role, 'assistant');
    const text = pieces.map((piece) => piece.choices[0].delta.content ?? '').join('');
    assert.equal(text, whole.choices[0].message.content);
    const numbers = pieces.flatMap((piece) => piece.choices[0].logprobs?.content ?? []).map((token) => token.logprob);
    assert.deepEqual(
      numbers,
      whole.choices[0].logprobs.content.map((token) => token.logprob),
    );
  },
  'the helper for streams gathers the whole chat': async () => {
    const whole = await chat({});
    const runner = client.chat.completions.stream({ model, messages, max_tokens: 24, seed: 7 });
    assert.equal(await runner.finalContent(), whole.choices[0].message.content);
  },
  'choices come in their number': async () => {
    const found = await complete({ n: 3, temperature: 1 });
    assert.deepEqual(
      found.choices.map((choice) => choice.index),
      [0, 1, 2],
    );
  },
  'a schema gives an object of it': async () => {
    const format = { type: 'json_schema', json_schema: { name: 'animal', schema, strict: true } };
    const found = await client.chat.completions.parse({ model, messages, max_tokens: 200, seed: 7, response_format: format });
    const animal = JSON.parse(found.choices[0].message.content);
    assert.ok(['cat', 'dog'].includes(animal.name) && [2, 4].includes(animal.legs), JSON.stringify(animal));
  },
  'a required tool is called': async () => {
    const found = await chat({ tools: [weather], tool_choice: 'required', parallel_tool_calls: false, max_tokens: 200 });
    assert.equal(found.choices[0].finish_reason, 'tool_calls');
    const call = found.choices[0].message.tool_calls[0];
    assert.equal(call.function.name, 'weather');
    assert.ok(['Oslo', 'Rome'].includes(JSON.parse(call.function.arguments).city), call.function.arguments);
  },
  'embeddings in base64 are those in numbers': async () => {
    const found = await client.embeddings.create({ model, input: 'The cat' });
    const numbers = await client.embeddings.create({ model, input: 'The cat', encoding_format: 'float' });
    assert.deepEqual(new Float32Array(found.data[0].embedding), new Float32Array(numbers.data[0].embedding));
    assert.ok(found.data[0].embedding.length > 0);
  },
  'a stream that is left is ended': async () => {
    const stream = await complete({ stream: true, max_tokens: 300, ignore_eos: true });
    for await (const _ of stream) {
      break;
    }
    assert.ok((await complete({})).choices[0].text);
  },
};

const found = [];
for (const [name, run] of Object.entries(checks)) {
  try {
    await run();
    found.push({ name, error: null });
  } catch (error) {
    found.push({ name, error: String(error.stack ?? error).split('\n').slice(0, 4).join(' ') });
  }
}
const version = JSON.parse(readFileSync('node_modules/openai/package.json', 'utf8')).version;
console.log(JSON.stringify({ versions: { openai: version, node: process.version }, checks: found }));
