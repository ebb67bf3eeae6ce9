# A pipeline of four programs, twice, with a loop of the shell itself between them.
set -e
seq 1 900000 | awk '{ s = (s * 31 + $1) % 1000003; print s }' | sort -n | uniq -c | awk '{ t += $1 * ($2 % 97) } END { print t }'
i=0
total=0
while [ $i -lt 60000 ]; do
	i=$((i + 1))
	total=$(((total * 7 + i) % 1000003))
done
echo $total
seq 1 500000 | sort -r | sed -n '1~1000p' | tr '\n' ' '
