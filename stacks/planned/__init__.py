"""What a stack is about to deploy, as facts, judged by the policies before anything is made."""
