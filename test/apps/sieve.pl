# Primes by hash and regular expression, to have an interpreter's memory in use.
use strict;
use warnings;

my (%gaps, @primes);
my $limit = 3_000_000;
my @composite;
for my $n (2 .. $limit) {
	next if $composite[$n];
	push @primes, $n;
	for (my $m = $n * $n; $m <= $limit; $m += $n) {
		$composite[$m] = 1;
	}
}
for my $i (1 .. $#primes) {
	$gaps{ $primes[$i] - $primes[ $i - 1 ] }++;
}
my $palindromes = grep { $_ eq reverse $_ } @primes;
printf "%d primes, %d palindromes\n", scalar @primes, $palindromes;
printf "%d %d\n", $_, $gaps{$_} for sort { $a <=> $b } keys %gaps;
