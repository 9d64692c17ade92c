// What a user of Vercel's AI SDK does with its provider for Zhipu: `node ai_sdk_script.cjs BASE_URL KEY`.
// It prints one JSON object of what came of it. The provider checks every chunk against a strict schema.
const { generateText, streamText } = require("ai");
const { createZhipu } = require("zhipu-ai-provider");

async function main([baseURL, apiKey]) {
  const ask = (key) => {
    return { model: createZhipu({ baseURL, apiKey: key })("echo"), prompt: "one two three", maxRetries: 0 };
  };
  const whole = await generateText(ask(apiKey));
  const stream = streamText(ask(apiKey));
  const text = await stream.text;
  const error = await generateText(ask("a.b")).catch((refused) => refused);
  console.log(JSON.stringify({
    same: whole.text === text,
    usage: [whole.usage.totalTokens, (await stream.usage).totalTokens],
    error: [error.name, error.statusCode],
  }));
}

main(process.argv.slice(2));
