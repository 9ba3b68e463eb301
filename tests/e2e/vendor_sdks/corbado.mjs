// What `@corbado/node-sdk` says of each token: the user that it names, or why it is refused.

import { Config, SDK } from "@corbado/node-sdk";

import { serve } from "./program.mjs";

await serve(async ({ project, frontendApi, tokens }) => {
  const config = new Config(project, "corbado1_unused", frontendApi, "https://backend.invalid");
  const sessions = new SDK(config).sessions();
  const verdicts = [];
  for (const token of tokens) {
    try {
      const { userId } = await sessions.validateToken(token);
      verdicts.push({ accepted: true, user: userId ?? null });
    } catch (error) {
      verdicts.push({ accepted: false, error: `${error.name}: ${error.message}` });
    }
  }
  return verdicts;
});
