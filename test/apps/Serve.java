import com.sun.net.httpserver.HttpServer;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.UnixDomainSocketAddress;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executors;

/**
 * An HTTP server with a pool of threads, clients of it (only with the argument "tcp" while it may be checkpointed), channels over a
 * UNIX socket, and a child on pipes. Garbage is made, so that it is collected, and what is called often is compiled.
 */
public class Serve {
	static OutputStream progress;

	static synchronized boolean worked() throws IOException {
		progress.write('.');
		return !Files.exists(Path.of("stop"));
	}

	static void need(boolean that, String why) {
		if (!that) {
			System.err.println("lost: " + why);
			Runtime.getRuntime().halt(1);
		}
	}

	static String answer(String path) {
		StringBuilder b = new StringBuilder();
		int h = path.hashCode();
		for (int i = 0; i < 20 + Math.floorMod(h, 3000); i++) {
			h = h * 31 + i;
			b.append(h).append(' ');
		}
		return b.toString();
	}

	interface Talk {
		void talk() throws Exception;
	}

	static Thread start(String who, Talk talk) {
		Thread t = new Thread(() -> {
			try {
				talk.talk();
			} catch (Exception e) {
				e.printStackTrace();
				need(false, who + ": " + e);
			}
		}, who);
		t.start();
		return t;
	}

	static void http(String who, int port, int count) throws Exception {
		HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
		for (int n = 0; n < count; n++) {
			String path = "/" + who + "/" + n;
			URI uri = URI.create("http://127.0.0.1:" + port + path);
			HttpResponse<String> r = client.send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString());
			need(r.statusCode() == 200 && r.body().equals(answer(path)), path);
			if (!worked()) {
				break;
			}
		}
	}

	static void echo(ServerSocketChannel server) throws Exception {
		try (SocketChannel c = server.accept()) {
			ByteBuffer b = ByteBuffer.allocate(4096);
			while (c.read(b.clear()) >= 0) {
				b.flip();
				while (b.hasRemaining()) {
					c.write(b);
				}
			}
		}
	}

	static void channel(UnixDomainSocketAddress address) throws Exception {
		try (SocketChannel c = SocketChannel.open(address)) {
			int n = 0;
			do {
				byte[] want = answer("channel " + n++).substring(0, 50).getBytes();
				c.write(ByteBuffer.wrap(want));
				ByteBuffer got = ByteBuffer.allocate(want.length);
				while (got.hasRemaining()) {
					need(c.read(got) > 0, "the channel");
				}
				need(java.util.Arrays.equals(want, got.array()), "message " + n);
			} while (worked());
		}
	}

	static void child() throws Exception {
		Process cat = new ProcessBuilder("cat").redirectError(ProcessBuilder.Redirect.INHERIT).start();
		PrintStream in = new PrintStream(cat.getOutputStream(), true);
		BufferedReader out = new BufferedReader(new InputStreamReader(cat.getInputStream()));
		int n = 0;
		do {
			String want = answer("child " + n++);
			in.println(want);
			need(want.equals(out.readLine()), "line " + n);
		} while (worked());
		in.close();
		need(cat.waitFor() == 0, "the child's end");
	}

	public static void main(String[] args) throws Exception {
		progress = Files.newOutputStream(Path.of("progress"), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
		HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 16);
		server.setExecutor(Executors.newFixedThreadPool(4));
		server.createContext("/", x -> {
			byte[] body = answer(x.getRequestURI().getPath()).getBytes();
			x.sendResponseHeaders(200, body.length);
			x.getResponseBody().write(body);
			x.close();
		});
		server.start();
		int port = server.getAddress().getPort();
		UnixDomainSocketAddress address = UnixDomainSocketAddress.of("echo.sock");
		ServerSocketChannel local = ServerSocketChannel.open(java.net.StandardProtocolFamily.UNIX).bind(address);
		List<Thread> threads = new ArrayList<>();
		threads.add(start("echo", () -> echo(local)));
		threads.add(start("channel", () -> channel(address)));
		threads.add(start("child", Serve::child));
		if (args.length > 0 && args[0].equals("tcp")) {
			threads.add(start("a", () -> http("a", port, Integer.MAX_VALUE)));
			threads.add(start("b", () -> http("b", port, Integer.MAX_VALUE)));
		}
		for (Thread t : threads) {
			t.join();
		}
		http("last", port, 1);
		server.stop(0);
		Files.writeString(Path.of("out"), "ok\n");
		System.exit(0);
	}
}
