// A server with `supertokens-node`, as an application would have it: the SDK's own routes below
// /auth, a sign-in, and every other path for those with a session.

import { once } from "node:events";

import express from "express";
import SuperTokens from "supertokens-node";
import { errorHandler, middleware } from "supertokens-node/framework/express/index.js";
import { verifySession } from "supertokens-node/recipe/session/framework/express/index.js";
import Session from "supertokens-node/recipe/session/index.js";

import { serve } from "./program.mjs";

await serve(async ({ core, domain, websites, antiCsrf, dynamic }) => {
  SuperTokens.init({
    framework: "express",
    telemetry: false,
    supertokens: { connectionURI: core },
    appInfo: { appName: "tests", apiDomain: domain, websiteDomain: domain, apiBasePath: "/auth" },
    recipeList: [Session.init({ antiCsrf, useDynamicAccessTokenSigningKey: dynamic })],
  });

  const app = express();
  app.use((request, response, next) => {
    const origin = request.get("origin");
    if (websites.includes(origin)) {
      response.set({
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-allow-headers": ["content-type", ...SuperTokens.getAllCORSHeaders()].join(),
        "access-control-allow-methods": "GET, POST",
      });
    }
    return request.get("access-control-request-method") ? response.sendStatus(204) : next();
  });
  app.use(middleware());
  app.post("/auth/login", async (request, response, next) => {
    try {
      const user = new SuperTokens.RecipeUserId("usr-1");
      await Session.createNewSession(request, response, "public", user, {});
      response.json({ status: "OK" });
    } catch (error) {
      next(error);
    }
  });
  app.use(verifySession(), (request, response) => {
    response.json({ user: request.session?.getUserId() ?? null });
  });
  app.use(errorHandler());
  app.use((error, _request, response, _next) => {
    console.error(error);
    response.status(500).json({ message: String(error.message) });
  });

  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: server.address().port };
});
