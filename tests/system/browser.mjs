// Drives a browser: one JSON command a line on standard input, one JSON answer a line.
// Arguments: the folder with node_modules, the browser's program.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [folder, executablePath] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
});
let page;
let said = [];

const commands = {
  async open({ url, width, dark, javascript }) {
    await page?.context().close();
    said = [];
    const context = await browser.newContext({
      viewport: { width, height: 800 },
      colorScheme: dark ? "dark" : "light",
      javaScriptEnabled: javascript,
    });
    page = await context.newPage();
    page.setDefaultTimeout(30000);
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) said.push(message.text());
    });
    page.on("pageerror", (error) => said.push(String(error)));
    page.on("dialog", (dialog) => {
      said.push(`dialog ${dialog.message()}`);
      dialog.dismiss();
    });
    await page.goto(url);
  },
  fill: ({ selector, value }) => page.fill(selector, value),
  click: ({ selector }) => page.click(selector),
  press: ({ key }) => page.keyboard.press(key),
  text: async ({ selector }) => (await page.locator(selector).first().innerText()).trim(),
  wait: ({ selector }) => page.waitForSelector(selector).then(() => true),
  focused: () => page.evaluate(() => document.activeElement.id || document.activeElement.className),
  url: () => page.url(),
  overflow: () =>
    page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),
  cookies: () => page.evaluate(() => document.cookie),
  said: () => said,
  shoot: ({ path }) => page.screenshot({ path, fullPage: true }).then(() => path),
  async axe() {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    return violations.map(({ id, impact, nodes }) => [id, impact, nodes.map((node) => node.html)]);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...values } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await commands[command](values)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
