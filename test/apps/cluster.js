// A cluster: workers that are handed connections, or accept them from a shared listening socket; each client stays connected.
"use strict";
const cluster = require("cluster");
const fs = require("fs");
const net = require("net");

if (cluster.isWorker) {
	net.createServer((c) => c.pipe(c)).listen("cluster.sock");
} else {
	cluster.schedulingPolicy = process.argv[2] === "shared" ? cluster.SCHED_NONE : cluster.SCHED_RR;
	const progress = fs.openSync("progress", "a");
	const die = (why) => { fs.writeSync(2, `lost: ${why}\n`); process.exit(1); };
	let ready = 0, open = 0, ending = false;
	const talk = (who) => {
		let n = 0, want = "", got = "";
		const c = net.connect("cluster.sock");
		const ask = () => {
			want = `${who} ${n} `.repeat(1 + n * 7 % 3000);
			got = "";
			c.write(want);
		};
		open++;
		c.on("connect", ask);
		c.on("error", (e) => die(e.message));
		c.on("data", (d) => {
			got += d;
			if (got.length < want.length)
				return;
			if (got !== want)
				die(`answer ${n} to ${who}`);
			fs.writeSync(progress, ".");
			n++;
			if (!fs.existsSync("stop"))
				return ask();
			ending = true;
			c.end();
		});
		c.on("close", () => {
			if (!ending)
				die(`the connection of ${who}`);
			if (--open === 0)
				cluster.disconnect(() => { fs.writeFileSync("out", "ok\n"); });
		});
	};
	cluster.on("exit", (w, code) => { if (code !== 0 || !ending) die(`worker ${w.id}`); });
	cluster.on("listening", () => { if (++ready === 2) for (const who of "abcd") talk(who); });
	cluster.fork();
	cluster.fork();
}
