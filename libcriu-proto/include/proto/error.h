/*
 * What is wrong with a message, and where. Storage is fixed, so that running out of memory cannot
 * lose the sentence.
 */
#ifndef PROTO_ERROR_H
#define PROTO_ERROR_H

#define PROTO_ERROR_TEXT 240

/**
 * struct proto_error - why a function of this library failed
 * @code: negative errno, also the return value of the function; 0 while clean
 *        -EBADMSG  the bytes are not such a message, or not such an image
 *        -E2BIG    a limit was passed
 *        -EINVAL   the struct given for encoding is not complete
 *        -ENOMEM   no memory
 * @text: path of the member and what is wrong with it, for instance
 *        "criu_req.opts.external[3]: string longer than 4096 bytes"
 *
 * Written only on failure. A caller that does not care passes NULL.
 */
struct proto_error {
	int code;
	char text[PROTO_ERROR_TEXT];
};

#endif
