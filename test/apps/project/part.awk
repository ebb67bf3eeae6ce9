# Writes one part of the project, or the main program that calls them all.
BEGIN {
	if (part == "") {
		n = split(parts, all, " ")
		print "#include <stdio.h>"
		for (i = 1; i <= n; i++)
			printf "unsigned part_%s(unsigned);\n", all[i]
		print "int main(void)\n{\n\tunsigned x = 1;"
		for (i = 1; i <= n; i++)
			printf "\tx = part_%s(x);\n", all[i]
		print "\tprintf(\"%u\\n\", x);\n\treturn 0;\n}"
		exit
	}
	for (i = 0; i < 120; i++) {
		printf "static unsigned f%d(unsigned x)\n{\n\tfor (unsigned i = 0; i < %d; i++)\n", i, i % 7 + 3
		printf "\t\tx = (x * %du + %du) ^ (x >> %d);\n\treturn x;\n}\n", i * 2 + 3, part * 31 + i, i % 13 + 1
	}
	printf "unsigned part_%s(unsigned x)\n{\n", part
	for (i = 0; i < 120; i++)
		printf "\tx = f%d(x);\n", i
	print "\treturn x;\n}"
}
