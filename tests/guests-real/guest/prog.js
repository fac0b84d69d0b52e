// A JIT that patches and throws away its code; typed arrays, regexes, bigints.
const crypto = require('crypto');
const hash = (s) => crypto.createHash('sha256').update(s).digest('hex');
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
console.log(fib(27));
const a = new Float64Array(20000);
for (let r = 0; r < 20; r++)
  for (let i = 0; i < a.length; i++) a[i] = Math.fround(a[i] * 0.5 + i % 97);
console.log(a.reduce((x, y) => x + y, 0).toFixed(6));
// The types change, so code is thrown away again and again.
function add(x, y) { return x + y; }
let s = 0, t = '';
for (let i = 0; i < 200000; i++) s = add(s, i);
for (let i = 0; i < 2000; i++) t = add(t, i);
for (let i = 0; i < 200000; i++) s = add(s, 0.5);
console.log(s, hash(t));
let b = 1n;
for (let i = 1n; i < 700n; i++) b *= i;
console.log(hash(b.toString()));
const m = new Map();
for (let i = 0; i < 100000; i++) m.set('k' + (i * 40503 % 9973), i);
console.log(m.size, hash(JSON.stringify([...m].sort())));
const fs = [];
for (let i = 0; i < 300; i++) fs.push(new Function('x', `return x * ${i} + 1`));
console.log(fs.reduce((x, f) => (x + f(x)) % 1000003, 1));
let caught = 0;
for (let i = 0; i < 20000; i++) try { null.x; } catch { caught++; }
console.log(caught, t.replace(/(\d)(\d)/g, '$2$1').length);
let junk = [];
for (let i = 0; i < 300000; i++) { junk.push({ i, s: 'x' + i }); if (i % 50000 == 0) junk = []; }
console.log(junk.length);
