import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;

/** Threads that fill maps, with a garbage collector behind them. */
public class Primes {
	static boolean prime(int n) {
		for (int d = 2; (long) d * d <= n; d++) {
			if (n % d == 0) {
				return false;
			}
		}
		return n > 1;
	}

	public static void main(String[] args) throws InterruptedException {
		List<Thread> threads = new ArrayList<>();
		TreeMap<Integer, String> all = new TreeMap<>();
		for (int t = 0; t < 4; t++) {
			final int start = t * 400000;
			Thread thread = new Thread(() -> {
				TreeMap<Integer, String> mine = new TreeMap<>();
				for (int n = start; n < start + 400000; n++) {
					if (prime(n)) {
						mine.put(n, "prime " + n);
					}
				}
				synchronized (all) {
					all.putAll(mine);
				}
			});
			thread.start();
			threads.add(thread);
		}
		for (Thread thread : threads) {
			thread.join();
		}
		System.out.println(all.size() + " " + all.lastKey() + " " + all.hashCode());
	}
}
