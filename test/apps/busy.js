// One event loop that talks to a worker thread (shared memory and messages), a forked child (its channel is a UNIX socket
// pair), a filter (standard streams), and itself by HTTP over a connection that stays: a UNIX socket, or with the argument
// "tcp" TCP. Each conversation counts; a message that is lost, repeated or changed ends the program with a reason.
"use strict";
const { fork, spawn } = require("child_process");
const { createHash } = require("crypto");
const fs = require("fs");
const http = require("http");
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");

const sum = (text) => createHash("sha256").update(text).digest("hex");
const die = (why) => { fs.writeSync(2, why + "\n"); process.exit(1); };

if (!isMainThread) {
	const cells = new Int32Array(workerData);
	parentPort.on("message", (m) => {
		Atomics.add(cells, 0, 1);
		parentPort.postMessage({ n: m.n, digest: sum("thread " + m.n) });
	});
} else if (process.argv[2] === "child") {
	let heard = 0;
	process.on("message", (m) => {
		if (m.n !== heard)
			die(`child: ${m.n} after ${heard - 1}`);
		heard++;
		process.send({ n: m.n, digest: sum("child " + m.n) });
	});
	process.on("disconnect", () => process.exit(0));
} else {
	const cells = new SharedArrayBuffer(4);
	const worker = new Worker(__filename, { workerData: cells });
	const child = fork(__filename, ["child"]);
	const cat = spawn("cat", [], { stdio: ["pipe", "pipe", "inherit"] });
	const server = http.createServer((q, a) => a.end(sum("http " + q.url.slice(1)) + "x".repeat(Number(q.url.slice(1)) % 70000)));
	const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
	const rounds = { thread: 0, child: 0, cat: 0, http: 0, ticks: 0 };
	const open = new Set(["thread", "child", "cat", "http"]);
	let accepted = 0, closed = 0, address;

	server.keepAliveTimeout = server.requestTimeout = server.headersTimeout = 0;
	server.on("connection", (c) => { accepted++; c.on("close", () => { closed++; }); });
	const next = (who, ask) => {
		fs.writeSync(progress, who[0]);
		rounds[who]++;
		if (!fs.existsSync("stop"))
			return ask();
		open.delete(who);
		if (open.size === 0)
			end();
	};
	const check = (who, n, digest) => {
		if (n !== rounds[who] || digest !== sum(`${who} ${n}`))
			die(`${who}: answer ${n} to question ${rounds[who]}`);
	};
	const askThread = () => worker.postMessage({ n: rounds.thread });
	worker.on("message", (m) => { check("thread", m.n, m.digest); next("thread", askThread); });

	const askChild = () => child.send({ n: rounds.child });
	child.on("message", (m) => { check("child", m.n, m.digest); next("child", askChild); });

	let wanted = "", got = "";
	const askCat = () => {
		wanted = `${rounds.cat} ` + sum(String(rounds.cat)).repeat(rounds.cat % 400) + "\n";
		got = "";
		cat.stdin.write(wanted);
	};
	cat.stdout.on("data", (data) => {
		got += data;
		if (got.length < wanted.length)
			return;
		if (got !== wanted)
			die(`cat: line ${rounds.cat} differs`);
		next("cat", askCat);
	});

	const askHttp = () => {
		http.get({ ...address, path: `/${rounds.http}`, agent }, (a) => {
			let body = "";
			a.on("data", (d) => { body += d; });
			a.on("end", () => {
				check("http", rounds.http, body.slice(0, 64));
				if (body.length !== 64 + rounds.http % 70000)
					die(`http: ${body.length} bytes`);
				next("http", askHttp);
			});
		}).on("error", (e) => die(`http: ${e.message}`));
	};
	let cats = 0, code = null;
	const gone = () => {
		cats++;
		if (cats < 2)
			return;
		if (Atomics.load(new Int32Array(cells), 0) !== rounds.thread || code !== 0 || rounds.ticks === 0)
			die(`end: ${Atomics.load(new Int32Array(cells), 0)} of ${rounds.thread} in the thread, child ${code}`);
		// an agent asks on a second connection while the answer on the first is being cleared away
		if (accepted > 2 || closed !== 0)
			die(`${accepted} connections to the server, ${closed} of them closed`);
		fs.writeFileSync("out", "ok\n");
		process.exit(0);
	};
	const end = () => {
		cat.stdin.end();
		cat.on("exit", gone);
		child.on("exit", (c) => { code = c; gone(); });
		child.disconnect();
	};
	const progress = fs.openSync("progress", "a");
	setInterval(() => { rounds.ticks++; }, 5);
	server.listen(process.argv[2] === "tcp" ? { host: "127.0.0.1", port: 0 } : "http.sock", () => {
		address = process.argv[2] === "tcp" ? { host: "127.0.0.1", port: server.address().port } : { socketPath: "http.sock" };
		askThread(); askChild(); askCat(); askHttp();
	});
}
