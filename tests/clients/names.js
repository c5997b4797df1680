// SPDX-License-Identifier: MIT
// Asks for PREFIX-0.a.test and so on by c-ares: both addresses of COUNT names.
const dns = require('dns').promises;
const [prefix, count] = process.argv.slice(2);

(async () => {
  for (let i = 0; i < Number(count); i++) {
    await dns.resolve4(`${prefix}-${i}.a.test`);
    await dns.resolve6(`${prefix}-${i}.a.test`);
  }
})();
