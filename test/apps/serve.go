// An HTTP server, and clients that ask it over connections that stay and over new ones, by TCP and by a UNIX socket; a child that
// answers on its standard streams; timers. Every answer is checked, and so is that no connection breaks.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var progress *os.File
var accepted, ticks int64
var ending int32

func die(what string, args ...interface{}) {
	fmt.Fprintf(os.Stderr, "lost: "+what+"\n", args...)
	os.Exit(1)
}

func worked() bool {
	if _, err := progress.Write([]byte(".")); err != nil {
		die("progress: %v", err)
	}
	_, err := os.Stat("stop")
	return err != nil
}

func answer(path string) string {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(path)))
	return strings.Repeat(sum, 1+len(path)*int(sum[0])%900)
}

func ask(client *http.Client, who string, wg *sync.WaitGroup) {
	defer wg.Done()
	for n, more := 0, true; more; n++ {
		path := fmt.Sprintf("/%s/%d", who, n)
		r, err := client.Get("http://server" + path)
		if err != nil {
			die("%s: %v", path, err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || string(body) != answer(path) {
			die("%s: %d bytes, %v", path, len(body), err)
		}
		more = worked()
	}
}

// A transport asks again when an idle connection breaks, and would hide that. Those that it closes itself are none of ours: it does so
// with one whose request took 50 ms to be noted as written, as it can seem around a checkpoint.
type watched struct {
	net.Conn
	who string
}

func (w watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil && !errors.Is(err, net.ErrClosed) && atomic.LoadInt32(&ending) == 0 {
		die("connection of %s: %v", w.who, err)
	}
	return n, err
}

func dial(network, address string, anew bool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: anew,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return watched{c, network}, err
		}}}
}

func filter(wg *sync.WaitGroup) {
	defer wg.Done()
	cat := exec.Command("cat")
	in, _ := cat.StdinPipe()
	out, _ := cat.StdoutPipe()
	if err := cat.Start(); err != nil {
		die("cat: %v", err)
	}
	lines := bufio.NewReader(out)
	for n, more := 0, true; more; n++ {
		want := answer(fmt.Sprint(n)) + "\n"
		go io.WriteString(in, want)
		if got, err := lines.ReadString('\n'); got != want {
			die("line %d: %v", n, err)
		}
		more = worked()
	}
	in.Close()
	if err := cat.Wait(); err != nil {
		die("cat: %v", err)
	}
}

func main() {
	var wg sync.WaitGroup
	progress, _ = os.OpenFile("progress", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0666)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, answer(r.URL.Path)) }),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				atomic.AddInt64(&accepted, 1)
			}
		},
	}
	local, err := net.Listen("unix", "http.sock")
	if err != nil {
		die("listen: %v", err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		die("listen: %v", err)
	}
	go server.Serve(local)
	go server.Serve(tcp)
	go func() {
		for range time.Tick(3 * time.Millisecond) {
			atomic.AddInt64(&ticks, 1)
		}
	}()
	address := tcp.Addr().String()
	staying := map[string]*http.Client{"local": dial("unix", "http.sock", false)}
	if len(os.Args) > 1 && os.Args[1] == "tcp" {
		staying["a"], staying["b"] = dial("tcp", address, false), dial("tcp", address, false)
	}
	for who, client := range staying {
		wg.Add(1)
		go ask(client, who, &wg)
	}
	wg.Add(1)
	go filter(&wg)
	wg.Wait()
	atomic.StoreInt32(&ending, 1)
	if accepted < int64(len(staying)) || ticks == 0 {
		die("%d connections in place of %d, %d ticks", accepted, len(staying), ticks)
	}
	wg.Add(1)
	ask(dial("tcp", address, true), "anew", &wg)
	if err := server.Shutdown(context.Background()); err != nil {
		die("shutdown: %v", err)
	}
	os.WriteFile("out", []byte("ok\n"), 0666)
}
