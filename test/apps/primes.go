// Goroutines that hand numbers from one filter to the next, and a garbage collector that has something to do.
package main

import (
	"crypto/sha256"
	"fmt"
	"sync"
)

func filter(in <-chan int, out chan<- int, prime int) {
	for n := range in {
		if n%prime != 0 {
			out <- n
		}
	}
	close(out)
}

func main() {
	ch := make(chan int)
	go func(c chan<- int) {
		for i := 2; i < 14000; i++ {
			c <- i
		}
		close(c)
	}(ch)
	sum, count := 0, 0
	for {
		prime, more := <-ch
		if !more {
			break
		}
		sum += prime
		count++
		next := make(chan int)
		go filter(ch, next, prime)
		ch = next
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := byte(0)
	for g := 0; g < 8; g++ {
		wg.Add(1)
		go func(g int) {
			defer wg.Done()
			data := make([]byte, 0)
			for i := 0; i < 40000; i++ {
				h := sha256.Sum256([]byte(fmt.Sprint(g, i)))
				data = append(data, h[:]...)
			}
			h := sha256.Sum256(data)
			mu.Lock()
			total ^= h[0]
			mu.Unlock()
		}(g)
	}
	wg.Wait()
	fmt.Println(count, sum, total)
}
