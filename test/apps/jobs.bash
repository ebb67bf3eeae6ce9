# Background jobs, a coprocess-like pipe through a FIFO, traps and arrays.
set -eu
mkfifo queue
exec 3<> queue
worker() {
	local i sum=0
	for ((i = 0; i < 120000; i++)); do
		((sum = (sum * 13 + i * $1) % 1000003)) || true
	done
	echo "$1 $sum" >&3
}
for n in 1 2 3; do
	worker $n &
done
results=()
for n in 1 2 3; do
	read -r line <&3
	results+=("$line")
done
exec 3>&-
wait
printf '%s\n' "${results[@]}" | sort
rm queue
