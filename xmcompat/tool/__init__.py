"""The xmcompat program: what xm has no verb for."""
