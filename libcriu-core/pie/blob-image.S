/* The linked interpreter, as bytes of the library. */
	.section .rodata
	.balign	64
	.globl	blob_image_start
	.hidden	blob_image_start
	.globl	blob_image_end
	.hidden	blob_image_end
blob_image_start:
	.incbin	BLOB_BIN
blob_image_end:
	.section .note.GNU-stack, "", @progbits
