// A certified OpenID Connect provider with people of its own: node provider.mjs INSTALLATION SETTINGS
// SETTINGS is a JSON file: port, client, people (by the name that signs in) and keys; people are read
// anew at each sign-in. A line is printed when it listens.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , installation, file] = process.argv;
const found = createRequire(`${installation}/`).resolve("oidc-provider");
const { default: Provider } = await import(pathToFileURL(found));
const settings = JSON.parse(readFileSync(file, "utf8"));

const provider = new Provider(`http://127.0.0.1:${settings.port}`, {
  clients: [settings.client],
  jwks: { keys: settings.keys },
  cookies: { keys: ["a key of the test's"] },
  scopes: ["openid", "groups"],
  claims: { openid: ["sub"], profile: ["name"], groups: ["groups"] },
  findAccount: (_, sub) => ({
    accountId: sub,
    claims: () => ({ sub, ...JSON.parse(readFileSync(file, "utf8")).people[sub] }),
  }),
  pkce: { required: () => true },
});
provider.listen(settings.port, "127.0.0.1", () => console.log("it listens"));
