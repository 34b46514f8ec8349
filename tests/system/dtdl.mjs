// Parses a DTDL file with Microsoft's parser; prints the interfaces found, or the faults, as JSON.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , library, file] = process.argv;
const { getInterop } = await import(pathToFileURL(`${library}/build/index.js`));
const parser = await getInterop();
let answer;
try {
  const model = JSON.parse(parser.parse(readFileSync(file, "utf-8")));
  const interfaces = Object.values(model).filter((entity) => entity.EntityKind === "Interface");
  answer = { interfaces: interfaces.map((each) => ({ id: each.Id, contents: Object.keys(each.contents) })) };
} catch (error) {
  answer = { error: String(error.message ?? error) };
}
// The parser's runtime keeps the process alive, so it is ended once the answer is out.
process.stdout.write(JSON.stringify(answer), () => process.exit(0));
