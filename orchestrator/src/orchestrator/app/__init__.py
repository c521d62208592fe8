"""Use-cases: what happens between a request and the ports. Here `await` begins; SQL, HTTP and threads do not occur."""
