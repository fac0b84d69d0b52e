# Big integers, dictionaries, text, floats, threads, exceptions, processes.
import hashlib, json, math, os, re, threading, zlib

x = pow(3, 20011, 2**4423 - 1)
print(hashlib.sha256(str(x).encode()).hexdigest())
words = {}
for i in range(60000):
    w = "w%x" % (i * 2654435761 % 9973)
    words[w] = words.get(w, 0) + 1
text = json.dumps(words, sort_keys=True)
print(len(text), zlib.crc32(text.encode()), json.loads(text) == words)
print(len(re.findall(r"w[0-9a]+\"", text)))
print("%.12f" % sum(math.sin(i) * math.sqrt(i) for i in range(50000)))
assert zlib.decompress(zlib.compress(text.encode(), 6)).decode() == text
total, lock = 0, threading.Lock()


def work(n):
    global total
    for i in range(n):
        with lock:
            total += i


threads = [threading.Thread(target=work, args=(5000,)) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
print(total)
depth = 0


def fall(n):
    return fall(n + 1)


try:
    fall(0)
except RecursionError:
    print("deep")
pid = os.fork()
if pid == 0:
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
