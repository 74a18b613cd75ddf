"""The word tokenizer that reads the captions of drawn faces."""

from transformers import PreTrainedTokenizerFast

from noisezoo.builder.sources.faces.factors import PHRASES


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; the end token has the highest id, which is where CLIP's text tower reads its summary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = sorted({word for phrase in (*PHRASES.values(), "a face with and") for word in phrase.split()})
    vocab = {token: i for i, token in enumerate(["<pad>", "<unk>", "<bos>", *words, "<eos>"])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", vocab["<bos>"]), ("<eos>", vocab["<eos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>", eos_token="<eos>"
    )
