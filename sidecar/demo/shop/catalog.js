// The catalog, in Node without a package: it calls nobody, and is slow now and then.
"use strict";

const fs = require("fs");
const http = require("http");

let number = 0;

// As moods.py: shares are kept to by counting.
function fate() {
  let mood = { delay: 0, slow: 0, slow_share: 0, fail_share: 0 };
  try {
    mood = JSON.parse(fs.readFileSync(process.env.SHOP_MOOD, "utf8"));
  } catch {
    // Nobody wants anything of us.
  }
  const due = (share) => Math.floor((number + 1) * share) > Math.floor(number * share);
  const delay = mood.delay + (due(mood.slow_share) ? mood.slow : 0);
  const fails = due(mood.fail_share);
  number += 1;
  return { delay, fails };
}

function answer(response, status, document) {
  const body = JSON.stringify(document) + "\n";
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
}

const server = http.createServer((request, response) => {
  if (request.url === "/health") {
    answer(response, 200, { status: "up" });
    return;
  }
  const { delay, fails } = fate();
  setTimeout(() => {
    if (fails) answer(response, 500, { error: "the shelf is empty" });
    else answer(response, 200, { article: request.url.split("/").pop(), price: "9.90" });
  }, delay * 1000);
});

server.listen(Number(process.env.PORT), "127.0.0.1");
